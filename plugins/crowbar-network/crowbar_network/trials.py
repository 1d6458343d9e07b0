"""What systemd-networkd is told while a change is tried, where it runs: it must leave the links alone until they stand,
also its own clients of DHCP there, and make none again that went. Where it is to have them, it is then given, below
/run, what it will find after the next start once the change is kept.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from crowbar_network.layers import Link
from crowbar_network.program import Trial, part
from crowbar_network.writers import MARK, networkd

_RUN = "/run/systemd/network"
_MASK = "00-crowbar-trial.network"
_KEPT = "/etc/systemd/network/10-crowbar-"
_RELOAD = "networkctl reload\n"


def trial(writer: str, links: Sequence[Link], touched: Sequence[str], *, networkd_runs: bool) -> Trial:
    if not networkd_runs:
        return Trial()
    known = part("trial")
    masked = "\n".join((MARK, "[Match]", f"Name={' '.join(touched)}", "", "[Link]", "Unmanaged=yes", ""))
    mask = f"{_file(_MASK, masked)}unmade {' '.join(touched)}\n"
    before = f"{known}remember\n{mask}{_RELOAD}"
    undo = f'{known}recall\nif [ "${{1-}}" = first ]; then\n{mask}fi\n{_RELOAD}'
    clear = f"rm -rf {_RUN}/05-crowbar-*\n"
    if writer not in ("networkd", "netplan"):
        return Trial(before=before, settle=clear, undo=undo)
    files = "".join(_file(path.replace(_KEPT, "05-crowbar-"), text) for path, text in networkd(links).items())
    unmask = f"made {' '.join(link.name for link in links)}\nrm -f {_RUN}/{_MASK}\n"
    return Trial(before=before, settle=f"{known}{clear}{files}{unmask}{_RELOAD}", undo=undo)


def _file(name: str, text: str) -> str:
    return f"printf '%s' {shlex.quote(text)} >{_RUN}/{name}\n"
