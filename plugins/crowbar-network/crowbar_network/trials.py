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
    """``links``: all that there are to be; ``touched``: names of those that change, and of those that go."""
    if not networkd_runs:
        return Trial()
    known = part("trial")
    its_own = writer in ("networkd", "netplan")
    # Of those that others set up, it must not take any: what masked them for earlier changes is no more.
    names = list(touched) if its_own else [*dict.fromkeys([*touched, *(link.name for link in links)])]
    masked = "\n".join((MARK, "[Match]", f"Name={' '.join(names)}", "", "[Link]", "Unmanaged=yes", ""))
    before = f"{known}remember\n{_file(_MASK, masked)}unmade {' '.join(touched)}\nbegin\n"
    undo = f'{known}if [ "${{1-}}" != last ]; then\nrecall\n{_RELOAD}fi\n'
    if not its_own:
        return Trial(before=before, settle=f"rm -rf {_RUN}/05-crowbar-*\n", undo=undo)
    old = (f"{_RUN}/05-crowbar-{name}.{kind}" for name in touched for kind in ("netdev", "network"))
    clear = f"rm -f {' '.join(old)}\n"
    files = "".join(
        _file(path.replace(_KEPT, "05-crowbar-"), text)
        for path, text in networkd(links).items()
        if path.removeprefix(_KEPT).rpartition(".")[0] in touched
    )
    unmask = f"made {' '.join(link.name for link in links)}\nrm -f {_RUN}/{_MASK}\n"
    return Trial(before=before, settle=f"{known}{clear}{files}{unmask}{_RELOAD}", undo=undo)


def _file(name: str, text: str) -> str:
    return f"printf '%s' {shlex.quote(text)} >{_RUN}/{name}\n"
