"""The core's own migrations (Alembic), with the version table ``alembic_version_crowbar``."""
