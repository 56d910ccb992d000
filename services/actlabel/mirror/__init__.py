"""The merged records as JSON on a topic of their own."""
