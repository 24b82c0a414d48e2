"""The database: SQLite embedded, PostgreSQL by URL, behind one port."""
