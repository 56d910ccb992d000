"""The stream engine: a port, SQLite and Kafka behind it, and the stage loop."""
