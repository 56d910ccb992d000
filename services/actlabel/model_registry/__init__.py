"""Registered models: versions in the database, files in storage."""
