"""Store, services and web, each on SQLite and on PostgreSQL."""
