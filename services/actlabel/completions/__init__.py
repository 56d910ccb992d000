"""The server side of chat completions: what a request asks, and an opinion as the answer that its schema wants."""
