"""The step of the wizard that tells with which key Crowbar logs in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crowbar_core import cluster, hookimpl
from crowbar_jig_script.settings import Settings

_LONGEST = 4096


@hookimpl(optional=True)
def wizard_steps(session: Any, place: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    key = cluster().settings(Settings).key_path()
    public = key.with_name(f"{key.name}.pub")
    return [
        {
            "name": "ssh",
            "title": "How Crowbar logs in",
            "order": 15,
            "text": f"Crowbar logs in as root with the key {key}. Machines that it installs have it; this machine, and "
            "those that run already, need its public half in /root/.ssh/authorized_keys.",
            "fields": (),
            "picture": lambda _values: _shown(key, public),
            "carry_out": lambda _values, _change, _place: (),
        }
    ]  # fmt: skip


def _shown(key: Path, public: Path) -> str:
    """The public half of the key, or how there comes to be one."""
    if not key.exists():
        return f"There is no such key yet. Crowbar's user makes it with\nssh-keygen -q -t ed25519 -N '' -f {key}"
    try:
        return public.read_text(errors="replace")[:_LONGEST].strip()
    except OSError as error:
        return f"{public} cannot be read: {error.strerror}."
