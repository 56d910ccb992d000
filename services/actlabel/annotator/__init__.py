"""The stage that labels items with a model."""
