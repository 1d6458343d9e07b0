"""The barclamp's tables, as the migrations make them."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, String

from crowbar_core.tables import Database, JsonType, UtcDateTime

db = Database()

answers = db.Table(
    "wizard_answers",
    Column("id", Integer, primary_key=True),
    Column("step", String(64), nullable=False),
    Column("skipped", Boolean, nullable=False),
    Column("answers", JsonType, nullable=False),
    Column("answered_at", UtcDateTime, nullable=False),
)
"""``answers``: field -> text; what is secret is encrypted."""
end = db.Table(
    "wizard_end",
    Column("id", Integer, primary_key=True),
    Column("lines", JsonType, nullable=False),
    Column("machine", String(255), nullable=False),
    Column("ended_at", UtcDateTime, nullable=False),
)
