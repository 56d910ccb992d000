"""The merged topic as a table: read once, deduplicated, written in columns."""
