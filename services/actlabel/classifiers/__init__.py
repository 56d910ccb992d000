"""The models that can be trained and served: two small ones built in, and any Hugging Face classifier."""
