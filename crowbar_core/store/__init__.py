"""SQL: tables, the one writer of states, one function per question, the outbox, migrations."""
