"""The models that can be trained: two small ones built in, and any Hugging Face classifier."""
