"""A lab's own server and the profile that leads to it, so that `crowbar` finds the lab as it would find any server.

The lab is root's; the profile belongs to whoever asked. Where sudo ran this very command, that is the user of sudo, who
goes on with a plain `crowbar`; in a shell of root's it is root.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from crowbar_core import CrowbarError
from crowbar_core.client import Client, Target, config_path, forget_profile, read_config, save_profile
from crowbar_lab import linux, server
from crowbar_lab.directory import read_json, write_private
from crowbar_lab.errors import LabError
from crowbar_lab.lab import Lab

FILE = "seat.json"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose profile it is, and in which file."""

    config: str
    uid: int
    gid: int

    @classmethod
    def asking(cls, environ: Mapping[str, str]) -> Owner:
        ran = environ.get("SUDO_COMMAND", "").partition(" ")[0]
        if ran and Path(ran).name == Path(sys.argv[0]).name:
            with contextlib.suppress(KeyError, ValueError):
                user = pwd.getpwuid(int(environ["SUDO_UID"]))
                given = {key: environ[key] for key in ("CROWBAR_CLI_CONFIG",) if key in environ}
                return cls(config=str(config_path({"HOME": user.pw_dir, **given})), uid=user.pw_uid, gid=user.pw_gid)
        return cls(config=str(config_path(environ).absolute()), uid=os.geteuid(), gid=os.getegid())

    @contextlib.contextmanager
    def acting(self) -> Iterator[Path]:
        """With this user's rights alone: in a directory of theirs, root's would reach wherever they let it lead."""
        uid, gid, groups = os.geteuid(), os.getegid(), os.getgroups()
        if self.uid != uid:
            os.setgroups([self.gid])
            os.setegid(self.gid)
            os.seteuid(self.uid)
        try:
            yield Path(self.config)
        finally:
            if self.uid != uid:
                os.seteuid(uid)
                os.setegid(gid)
                os.setgroups(groups)


@dataclass(frozen=True, kw_only=True)
class Seat:
    """The lab's server, as it is kept in the lab's directory."""

    profile: str
    owner: Owner
    url: str
    token: str = field(repr=False)
    pid: int
    started: int

    @classmethod
    def of(cls, directory: Path) -> Seat | None:
        """That of the lab in this directory; None when it has none."""
        kept = read_json(directory / FILE)
        return cls(**{**kept, "owner": Owner(**kept["owner"])}) if kept else None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def lives(self) -> bool:
        return linux.started(self.pid) == self.started

    def forget(self) -> None:
        with self.owner.acting() as config:
            forget_profile(config, self.profile, url=self.url)


def check_profile(name: str, owner: Owner) -> None:
    """Raises ``LabError`` when the profile of this name leads where no lab's could, and so is not ours to write."""
    with owner.acting() as config:
        known = str(read_config(config).get("profiles", {}).get(name, {}).get("url", ""))
    if known and not re.fullmatch(r"http://127\.0\.0\.1:[0-9]+", known):
        raise LabError(
            f"There is a profile {name} in {owner.config} already, for {known}: give the lab another name with --name."
        )


def take_seat(lab: Lab, owner: Owner) -> tuple[Seat, str, bool]:
    """Start the lab's server, or start it again, and write its profile.

    The first time it gets a database, and a token of the user admin. Returns the seat, admin's password ('' when it has
    one already) and whether `crowbar` uses the profile without being told to. Raises ``CrowbarError``.
    """
    check_profile(lab.name, owner)
    directory = lab.directory / "server"
    before = Seat.of(lab.directory)
    if before is None:
        shutil.rmtree(directory, ignore_errors=True)  # of a start that failed: nobody knows its password
        directory.mkdir(mode=0o700)
    else:
        server.end_other(before.pid, before.lives)
        before.forget()
    try:
        return _start(lab, owner, directory, before)
    except CrowbarError as error:
        raise LabError(
            f"{error.detail} The lab {lab.name} has no server now; when that is mended: crowbar lab serve"
            f"{'' if lab.name == 'lab' else f' --name {lab.name}'}."
        ) from error


def _start(lab: Lab, owner: Owner, directory: Path, before: Seat | None) -> tuple[Seat, str, bool]:
    password = server.admin_password(server.begin_database(directory))
    process, url = server.start(lab, directory, port=before.port if before else 0)
    try:
        with closing(Client(Target(url=url, user="admin" if password else "", password=password, direct=True))) as api:
            server.wait_ready(process, api, directory)
            token = before.token if before else str(api.post("tokens", body={"name": f"the lab {lab.name}"})["token"])
        started = linux.started(process.pid) or 0
        made = Seat(profile=lab.name, owner=owner, url=url, token=token, pid=process.pid, started=started)
        write_private(lab.directory / FILE, json.dumps(asdict(made)))
        with owner.acting() as config:
            current = save_profile(config, made.profile, {"url": url, "token": token}, if_free=True)
    except BaseException:
        server.end(process)
        raise
    return made, password, current


def environment(lab: Lab) -> dict[str, str]:
    """This process's environment, in which the profile of the lab's own server is the one to use unless another is
    named there, and the profiles are those of whoever asked.
    """
    seat = Seat.of(lab.directory)
    owner = seat.owner if seat else Owner.asking(os.environ)
    found = {**os.environ, "CROWBAR_CLI_CONFIG": owner.config}
    if seat and not any(found.get(name) for name in ("CROWBAR_URL", "CROWBAR_PROFILE")):
        found["CROWBAR_PROFILE"] = seat.profile
    return found
