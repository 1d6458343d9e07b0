"""Domain and contracts: no database, no network."""
