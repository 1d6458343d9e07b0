"""Real servers for tests and benchmarks: PostgreSQL (from ``crowbar_core.testing``), Redis and nginx."""

import socket

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from crowbar_core.testing.servers import PostgresServer as PostgresServer
from crowbar_core.testing.servers import Service as Service
from crowbar_core.testing.servers import ServiceError as ServiceError
from crowbar_core.testing.servers import children_of as children_of
from crowbar_core.testing.servers import claim as claim
from crowbar_core.testing.servers import database_name as database_name
from crowbar_core.testing.servers import find_postgres_bin as find_postgres_bin
from crowbar_core.testing.servers import find_program as find_program
from crowbar_core.testing.servers import free_port as free_port
from crowbar_core.testing.servers import has_user as has_user
from crowbar_core.testing.servers import remove_leftovers as remove_leftovers
from crowbar_core.testing.waiting import wait_until as wait_until


class RedisServer(Service):
    """A Redis of one's own, in memory only: after stop() or kill() all it held is gone, as with a broker replaced."""

    name = "redis"

    def __init__(self) -> None:
        self._program = find_program("redis-server")
        super().__init__(user="redis" if has_user("redis") else "nobody")

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """For redis-py, reachable from inside any network namespace."""
        return f"unix://:{self.password}@{self.directory}/redis.sock?db=0"

    def client(self) -> redis.Redis:
        # No retries: redis-py's default waits through a dozen of them before it says that nobody is there.
        path = str(self.directory / "redis.sock")
        return redis.Redis(unix_socket_path=path, password=self.password, retry=Retry(NoBackoff(), 0))

    def flush(self) -> None:
        """FLUSHALL: forget everything, as a broker does that lost its memory."""
        with self.client() as client:
            client.flushall()

    def _command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.directory / "redis.sock"),
            "unixsocketperm": "777",
            "requirepass": self.password,
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
        }
        return [self._program, *(word for key, value in settings.items() for word in (f"--{key}", value))]

    def _is_answering(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


class NginxServer(Service):
    """nginx as the how-to says it, in front of ``upstream`` (HOST:PORT)."""

    name = "nginx"

    def __init__(self, upstream: str) -> None:
        self._program = find_program("nginx")
        super().__init__(user="www-data" if has_user("www-data") else "nobody")
        self.upstream = upstream

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def _command(self) -> list[str]:
        here = self.directory
        paths = "".join(
            f"{kind}_temp_path {here}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (here / "nginx.conf").write_text(
            f"""daemon off;
pid {here}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
{paths}access_log off;
server {{
    listen 127.0.0.1:{self.port};
    client_max_body_size 2m;
    location / {{
        proxy_pass http://{self.upstream};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
    }}
}}
}}
"""
        )
        return [self._program, "-c", str(here / "nginx.conf"), "-p", str(here), "-e", "stderr"]

    def _is_answering(self) -> bool:
        try:
            with socket.create_connection(self.address, timeout=1):
                return True
        except OSError:
            return False
