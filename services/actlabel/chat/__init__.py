"""The model client: one chat call, paid once."""
