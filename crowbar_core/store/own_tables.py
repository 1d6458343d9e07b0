"""Flask-SQLAlchemy for the tables of a barclamp: apart from the core's and from every other barclamp's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, registry

from crowbar_core.store.database import CurrentSession
from crowbar_core.store.models.base import ANNOTATIONS, db

_MIGRATIONS = (
    "The tables of a barclamp are made and changed by its migrations (register_schema) and dropped by "
    "`crowbar db purge`, not by db.{}()."
)


class Database(SQLAlchemy):
    """``db = Database()`` in a barclamp: ``db.Table`` and ``db.Model`` say what its tables look like.

    Metadata and models are this object's alone, so neither a name that another barclamp has, too, nor a mistake in a
    model reaches anybody else. ``db.session`` and ``db.engine`` are the process's: inside ``cluster().change()`` the
    session is that change's, inside ``cluster().read()`` that reader's, and in a request outside of both it reads.
    """

    session: CurrentSession  # type: ignore[assignment]

    def __init__(self) -> None:
        class Base(DeclarativeBase):
            registry = registry(type_annotation_map=ANNOTATIONS)

        super().__init__(model_class=Base, disable_autonaming=True, add_models_to_shell=False)

    @property
    def engines(self) -> Mapping[str | None, Engine]:
        return db.engines

    def init_app(self, app: Flask) -> None:
        raise InvalidRequestError("The process has its engine: a barclamp's Database() belongs to no application.")

    def create_all(self, bind_key: Any = "__all__") -> None:
        raise InvalidRequestError(_MIGRATIONS.format("create_all"))

    def drop_all(self, bind_key: Any = "__all__") -> None:
        raise InvalidRequestError(_MIGRATIONS.format("drop_all"))

    def _make_scoped_session(self, options: dict[str, Any]) -> Any:
        return db.session
