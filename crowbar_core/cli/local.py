"""What the commands that work here, without REST, have in common: the settings' options and the opened database."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from crowbar_core import logs
from crowbar_core.cli.context import shared_options
from crowbar_core.cli.verbs import pair
from crowbar_core.errors import ConfigError
from crowbar_core.services.build import build_parts
from crowbar_core.services.turns.parts import Parts
from crowbar_core.settings import Settings, load_settings

_F = TypeVar("_F", bound=Callable[..., Any])


def settings_options(function: _F) -> Callable[..., Any]:
    """Options for where the settings come from; the function gets ``settings``."""

    @click.option(
        "--config", type=click.Path(path_type=Path), metavar="FILE", help="The settings file (CROWBAR_CONFIG)."
    )
    @click.option("--data-dir", metavar="DIR", help="Where the embedded database and the keys live.")
    @click.option("--database-url", metavar="URL", help="Another database than the embedded one.")
    @click.option("--listen", metavar="ADDRESS", help="HOST:PORT, or fd://N for a socket that was inherited.")
    @click.option("--set", "more", multiple=True, metavar="NAME=VALUE", help="Any other setting; may be repeated.")
    @functools.wraps(function)
    def with_settings(
        config: Path | None,
        data_dir: str | None,
        database_url: str | None,
        listen: str | None,
        more: tuple[str, ...],
        **given: Any,
    ) -> Any:
        # Through the environment, as text: one place knows how to read a setting from a word.
        said = {f"CROWBAR_{_known(name).upper()}": value for name, value in (pair(text, "--set") for text in more)}
        environ = {**os.environ, **said}
        settings = load_settings(config, environ, data_dir=data_dir, database_url=database_url, listen=listen)
        logs.configure(settings)
        return function(settings=settings, **given)

    return shared_options()(with_settings)


def _known(name: str) -> str:
    """The name of a setting. In the environment an unknown one may be somebody else's; here it is a misspelling."""
    known = {item.name for item in fields(Settings)} - {"plugins"}
    if name.lower() not in known and not name.lower().startswith("plugins__"):
        raise ConfigError(f"There is no setting {name!r}. The settings are: {', '.join(sorted(known))}.")
    return name


@contextmanager
def opened(settings: Settings) -> Iterator[Parts]:
    parts = build_parts(settings)
    try:
        yield parts
    finally:
        parts.close()
