"""The base of all tables, and how columns are written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column, registry
from sqlalchemy.types import TypeDecorator

from crowbar_core.domain.names import natural
from crowbar_core.store.database import Database


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC, also on SQLite, which knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value.astimezone(UTC) if dialect.name == "postgresql" else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        """SQLite's text is read in one go: lists have four moments in a row."""
        return _of_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _of_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text + "+00:00")


Data = JSON().with_variant(JSONB(), "postgresql")
DataOrNothing = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON value, in which None is the absence of one."""


ANNOTATIONS: Mapping[Any, Any] = {
    datetime: UtcDateTime(),
    dict[str, Any]: Data,
    list[str]: Data,
    str: Text(),
    bool: Boolean(),
    float: Double(),
}
"""What the types of a model's fields are in the database."""


class Base(DeclarativeBase):
    registry = registry(
        metadata=MetaData(
            naming_convention={
                "ix": "ix_%(table_name)s_%(column_0_N_name)s",
                "uq": "uq_%(table_name)s_%(column_0_N_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s",
                "pk": "pk_%(table_name)s",
            }
        ),
        type_annotation_map=ANNOTATIONS,
    )


db = Database(model_class=Base, disable_autonaming=True)

if TYPE_CHECKING:  # a class that is made at run time says nothing to a type checker
    Model = Base
else:
    Model = db.Model


def moment() -> Any:
    return mapped_column(server_default=func.current_timestamp())


def json_object() -> Any:
    return mapped_column(server_default=text("'{}'"))


def json_list() -> Any:
    return mapped_column(server_default=text("'[]'"))


def words() -> Any:
    return mapped_column(server_default=text("''"))


def _natural(context: Any) -> str:
    return natural(str(context.get_current_parameters()["name"]))


def name_key() -> Any:
    """What the name is ordered by, the same on every database; whoever changes the name writes this, too."""
    in_bytes = Text().with_variant(Text(collation="C"), "postgresql")
    return mapped_column(in_bytes, default=_natural, server_default=text("''"))


def flag(value: bool = False) -> Any:
    return mapped_column(server_default=true() if value else false())


def number(value: int = 0) -> Any:
    return mapped_column(Integer, server_default=text(str(value)))


def ref(target: str, ondelete: str, *, primary_key: bool = False, index: bool = True) -> Any:
    return mapped_column(Integer, ForeignKey(target, ondelete=ondelete), primary_key=primary_key, index=index)


def one_of(column: str, values: Any) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


NEVER_REUSE_IDS = {"sqlite_autoincrement": True}  # an id in a message or a log must not come to mean another row


def table(model: type[Base]) -> Table:
    """The Core table behind a model, for statements that never build objects."""
    found = model.__table__
    assert isinstance(found, Table)
    return found
