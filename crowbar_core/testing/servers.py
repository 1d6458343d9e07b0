"""A private PostgreSQL for tests: short-lived, and gone whatever happens (``Service`` is for other servers, too).

A server lives in its own temporary directory, answers only to a random password, and runs as an unprivileged user
when the tests run as root (PostgreSQL refuses root). It ends with the `with` block, with the interpreter (atexit), and
when the tests are killed with -9 (`setpriv --pdeathsig`); the thread that starts it may end before. All of them are in
the network namespace in which the first was started.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

import psycopg2
from psycopg2 import sql

from crowbar_core.testing.waiting import wait_until

START_SECONDS = 30.0
STOP_SECONDS = 30.0
MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 << 30

T = TypeVar("T")


class _Lasting:
    """A thread that begins processes, and lasts as long as we do: a process that is to end with its parent ends, in
    Linux, with the thread that began it. A forked child has one of its own.
    """

    def __init__(self) -> None:
        self._owner = 0

    def run(self, begin: Callable[[], T]) -> T:
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._at_work = ThreadPoolExecutor(max_workers=1, thread_name_prefix="begins-servers")
        return self._at_work.submit(begin).result()


_LASTING = _Lasting()


class ServiceError(RuntimeError):
    """A real part is missing or would not start: the test fails, it is not skipped."""


def free_port(address: str = "127.0.0.1") -> int:
    """A port of `address` (IPv4 or IPv6) that is free for TCP and UDP now, for a server that a test starts.

    It is none of those that the system gives to outgoing connections, so none of these can take it in between; another
    server still may. ServiceError when a thousand tries find none.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    first_given, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    first = 10_000 if first_given > 20_000 else 1024
    for _ in range(1000):
        port = first + secrets.randbelow(max(first_given - first, 1))
        with socket.socket(family, socket.SOCK_STREAM) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((address, port))
                udp.bind((address, port))
            except OSError:
                continue
        return port
    raise ServiceError(f"no port of {address} from {first} to {first_given - 1} is free: stop some servers there")


class Service:
    """One server process with a directory of its own; the subclasses say which."""

    name: str
    death_signal = "KILL"

    def __init__(self, *, user: str, place: Path | None = None) -> None:
        remove_leftovers(f"crowbar-{self.name}-")
        self.directory = Path(tempfile.mkdtemp(prefix=f"crowbar-{self.name}-", dir=place))
        self._claim = claim(self.directory)
        self.log_path = self.directory / "server.log"
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._has_address = False
        self._owner = os.getpid()
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            account = pwd.getpwnam(user)
            self._as_user = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        # Others may go in (the server's socket is there) but not look around.
        self.directory.chmod(0o711)
        atexit.register(self.close)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServiceError(f"{self.name} is not running; call start() first")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait for the first answer. A later start keeps port and data of the first one; only a first start
        that finds its port taken looks for another."""
        if self.is_running:
            raise ServiceError(f"{self.name} runs already, as process {self.pid}")
        while True:
            process = self._launch()
            try:
                wait_until(self._answers_or_ended, seconds=START_SECONDS, what=f"{self.name} answers")
            except AssertionError as error:
                self.kill()
                raise ServiceError(f"{error}\n{self.log_tail()}") from error
            if process.poll() is None:
                self._has_address = True
                return
            self._process = None
            tail = self.log_tail()
            if self._has_address or "already in use" not in tail:
                raise ServiceError(f"{self.name} ended at once:\n{tail}")
            self.log_path.unlink()
            self.port = free_port()

    def stop(self) -> None:
        """End it in good order; data stay. Nothing happens when it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL); data stay as they were on disk."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop and remove everything. A second call does nothing; a forked child's call does nothing either."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._claim.close()

    def log_tail(self, lines: int = 30) -> str:
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _is_answering(self) -> bool:
        raise NotImplementedError

    def _answers_or_ended(self) -> bool:
        return not self.is_running or self._is_answering()

    def _setpriv(self, *options: str) -> list[str]:
        return [find_program("setpriv"), *self._as_user, *options, "--"]

    def _launch(self) -> subprocess.Popen[bytes]:
        # What the kernel calls its parent is the thread that starts it, so that is one that lasts as long as we do.
        self._process = _LASTING.run(self._begin)
        return self._process

    def _begin(self) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [*self._setpriv(f"--pdeathsig={self.death_signal}"), *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                start_new_session=True,  # Ctrl-C at the terminal is for the tests, which then stop it in order
            )

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


class PostgresServer(Service):
    """A PostgreSQL of one's own: `with PostgresServer() as server: url = server.create_database()`.

    `durable=True` keeps fsync and synchronous commit on, as in production (benchmarks); tests need neither, and get it
    in memory where there is room: most of what a test costs is the making and dropping of its database.
    """

    name = "postgresql"
    death_signal = "QUIT"  # the postmaster takes its children along; after SIGKILL they would linger
    owner = "crowbar"  # whom the URLs log in as: owns its databases, is no superuser

    def __init__(self, *, durable: bool = False, max_connections: int = 200) -> None:
        self._bin = find_postgres_bin()
        super().__init__(user="postgres" if has_user("postgres") else "nobody", place=None if durable else in_memory())
        self.durable = durable
        self.max_connections = max_connections
        self._count = 0
        self._data = self.directory / "data"

    def start(self) -> None:
        is_new = not self._data.exists()
        if is_new:
            self._initdb()
        super().start()
        if is_new:
            role = sql.Identifier(self.owner)
            self._execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(self.password)))

    def stop(self) -> None:
        """Fast shutdown: open sessions are cut, nothing committed is lost."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Crash: all its processes at once, as when the machine loses power (except that the page cache stays)."""
        if self.is_running:
            for child in children_of(self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def create_database(self, *, template: str | None = None) -> str:
        """The URL of a new database, empty or a copy of the database named `template` (which nobody may be using)."""
        self._count += 1
        name = f"crowbar_{os.getpid()}_{self._count}"
        with contextlib.closing(self.connect()) as connection:
            connection.autocommit = True
            # Its files are copied as they are, which is twice as quick as writing them to the log of changes first.
            copied = sql.SQL("STRATEGY FILE_COPY" if connection.server_version >= 150000 else "")
            with connection.cursor() as cursor:
                cursor.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} {}").format(
                        sql.Identifier(name),
                        sql.Identifier(self.owner),
                        sql.Identifier(template or "template1"),
                        copied,
                    )
                )
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove the database behind a URL of create_database(), cutting whoever is still connected."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database_name(url))))

    def url(self, name: str) -> str:
        """For SQLAlchemy, by unix socket: quicker than TCP, and reachable from inside any network namespace."""
        return f"postgresql+psycopg2://{self.owner}:{self.password}@/{name}?host={self.directory}&port={self.port}"

    def tcp_url(self, name: str) -> str:
        return f"postgresql+psycopg2://{self.owner}:{self.password}@127.0.0.1:{self.port}/{name}"

    def connect(self, dbname: str = "postgres") -> psycopg2.extensions.connection:
        """A superuser's connection, for what the tests themselves must see or break."""
        return psycopg2.connect(
            host=str(self.directory),
            port=self.port,
            user="postgres",
            password=self.password,
            dbname=dbname,
            connect_timeout=int(START_SECONDS),
        )

    def _initdb(self) -> None:
        secret = self.directory / "password"
        secret.write_text(self.password)
        secret.chmod(0o600)
        if self._as_user:
            owner = self.directory.stat()
            os.chown(secret, owner.st_uid, owner.st_gid)
        # md5, not scram, which costs each log-in milliseconds of key stretching: this server lives minutes.
        options = ["--username=postgres", "--encoding=UTF8", "--locale=C", "--auth=md5", "--no-instructions"]
        command = [
            *self._setpriv(),
            str(self._bin / "initdb"),
            f"--pgdata={self._data}",
            f"--pwfile={secret}",
            *options,
        ]
        if not self.durable:
            command.append("--no-sync")
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.directory, timeout=120, check=False)
        secret.unlink()
        if done.returncode != 0:
            raise ServiceError(f"initdb failed with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "max_connections": str(self.max_connections),
            "timezone": "UTC",
            "shared_buffers": "128MB" if self.durable else "32MB",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
            settings |= {"wal_level": "minimal", "max_wal_senders": "0"}
        options = [f"--{key}={value}" for key, value in settings.items()]
        return [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port), *options]

    def _is_answering(self) -> bool:
        try:
            self.connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def _execute(self, statement: sql.Composed) -> None:
        with contextlib.closing(self.connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)


def find_program(name: str) -> str:
    """The full path of a program, also where only root's PATH leads; ServiceError when it is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    if found := shutil.which(name, path=path):
        return found
    raise ServiceError(f"{name} is not installed: install the package that brings it (in a checkout: ./dev setup test)")


def find_postgres_bin() -> Path:
    """The directory of initdb and postgres: the newest of Debian's, which are not on PATH, or else the one on PATH."""
    debian = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if debian:
        return max(debian, key=lambda path: int(path.parent.name))
    return Path(find_program("initdb")).resolve().parent


def claim(directory: Path) -> IO[bytes]:
    """Say that the directory is in use, while the answer is open. A lock ends with its process, a pid file does not."""
    new = directory / "in-use.new"
    lock = new.open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    new.rename(directory / "in-use")  # locked from the moment it can be seen
    return lock


def in_memory() -> Path | None:
    """A directory for files in memory, where there is one with room for the databases of tests. Whoever sets TMPDIR
    has said where they are to be.
    """
    if "TMPDIR" in os.environ:
        return None
    try:
        room = shutil.disk_usage(MEMORY).free
    except OSError:
        return None
    return MEMORY if room >= ROOM_BYTES and os.access(MEMORY, os.W_OK | os.X_OK) else None


def remove_leftovers(prefix: str) -> None:
    """Remove the directories of servers whose tests were killed with -9 and so could not clean up."""
    places = [Path(tempfile.gettempdir()), *filter(None, [in_memory()])]
    for path in (found for place in places for found in place.glob(f"{prefix}*/in-use")):
        try:
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
        except OSError:
            continue  # in use, someone else's, or gone meanwhile


def has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def children_of(pid: int) -> Iterator[int]:
    try:
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    except FileNotFoundError:
        return


def database_name(url: str) -> str:
    return url.rsplit("/", 1)[1] if "?" not in url else url.split("?", 1)[0].rsplit("/", 1)[1]
