"""The settings of the networks: the table ``[plugins.network]``."""

from __future__ import annotations

from dataclasses import dataclass

from crowbar_core import setting


@dataclass(frozen=True, kw_only=True)
class Settings:
    keep_within: int = setting(
        8,
        "Seconds after which a node takes back a change of its interfaces, unless it was found right over a new"
        " connection.",
        above=3,
    )
    patience: int = setting(
        0,
        "Seconds for which the same fault is looked at, three times at least, before a change is taken back without"
        " waiting for the end of keep_within. 0: it is waited for.",
        above=-1,
    )
    lldp_wait: int = setting(
        35,
        "Seconds for which switches are waited for where LLDP was just begun; most announce themselves every 30.",
        above=-1,
    )
