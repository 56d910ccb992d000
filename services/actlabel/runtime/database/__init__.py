"""Databases behind one port: SQLite and PostgreSQL."""
