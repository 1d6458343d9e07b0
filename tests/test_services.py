"""The servers that tests start are real, private and gone afterwards."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psycopg2
import pytest
import redis
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.services import (
    PostgresServer,
    RedisServer,
    ServiceError,
    children_of,
    find_program,
    free_port,
    remove_leftovers,
    wait_until,
)


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def count(url: str, table: str) -> int:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one()
    finally:
        engine.dispose()


def write_row(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS t (x integer)"))
        connection.execute(sa.text("INSERT INTO t VALUES (1)"))
    engine.dispose()


def test_each_test_gets_an_empty_database_on_either_engine(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
    write_row(database_url)
    assert count(database_url, "t") == 1


def test_two_databases_know_nothing_of_each_other(postgres_server: PostgresServer) -> None:
    one, two = postgres_server.create_database(), postgres_server.create_database()
    write_row(one)
    with pytest.raises(sa.exc.ProgrammingError, match="does not exist"):
        count(two, "t")
    postgres_server.drop_database(one)
    postgres_server.drop_database(two)
    with pytest.raises(sa.exc.OperationalError, match="does not exist"):
        count(one, "t")


def test_a_database_can_start_as_a_copy(postgres_server: PostgresServer) -> None:
    original = postgres_server.create_database()
    write_row(original)
    copy = postgres_server.create_database(template=sa.make_url(original).database)
    assert count(copy, "t") == 1
    postgres_server.drop_database(copy)
    postgres_server.drop_database(original)


def test_the_server_answers_by_tcp_too_and_only_with_its_password(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    name = sa.make_url(url).database
    assert name is not None
    write_row(postgres_server.tcp_url(name))
    assert count(url, "t") == 1
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(host="127.0.0.1", port=postgres_server.port, user="crowbar", password="guess", dbname=name)
    postgres_server.drop_database(url)


def test_the_owner_of_the_databases_is_no_superuser(postgres_url: str) -> None:
    engine = sa.create_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT current_setting('is_superuser')")).scalar_one() == "off"
    engine.dispose()


def test_no_server_runs_as_root(postgres_server: PostgresServer, redis_server: RedisServer) -> None:
    for server in (postgres_server, redis_server):
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0


def test_committed_rows_survive_a_crash_of_postgresql() -> None:
    with PostgresServer(durable=True) as server:
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SHOW fsync")
            assert cursor.fetchone() == ("on",)
        connection.close()
        url = server.create_database()
        write_row(url)
        server.kill()
        assert not server.is_running
        with pytest.raises(sa.exc.OperationalError):
            count(url, "t")
        server.start()
        assert count(url, "t") == 1
        server.restart()
        assert count(url, "t") == 1
        server.stop()
        server.stop()
        directory = server.directory
    assert not directory.exists()


def test_redis_forgets_when_flushed_or_killed_and_keeps_its_address() -> None:
    with RedisServer() as server:
        client = redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0))
        client.set("a", 1)
        assert redis.Redis.from_url(server.socket_url).get("a") == b"1"
        server.flush()
        assert client.get("a") is None
        client.set("a", 1)
        port, pid = server.port, server.pid
        server.kill()
        assert not is_alive(pid)
        with pytest.raises(redis.ConnectionError):
            client.ping()
        server.start()
        assert server.port == port
        assert client.get("a") is None
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)).ping()
        client.close()


def test_servers_end_with_a_test_process_that_is_killed_and_the_next_ones_clean_up() -> None:
    code = """
import sys
from tests.services import PostgresServer, RedisServer
with PostgresServer() as postgres, RedisServer() as redis:
    print(postgres.pid, redis.pid, postgres.directory, redis.directory, flush=True)
    sys.stdin.read()
"""
    clean_up = "from tests.services import remove_leftovers as r; r('crowbar-postgresql-'); r('crowbar-redis-')"
    # A place of its own: tests that run beside this one clean up, too.
    with tempfile.TemporaryDirectory(prefix="crowbar-services-") as room:
        Path(room).chmod(0o755)
        elsewhere = {**os.environ, "TMPDIR": room}
        owner = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=elsewhere
        )
        assert owner.stdin is not None
        assert owner.stdout is not None
        with owner:
            first, second, *directories = owner.stdout.readline().split()
            pids = [int(first), int(second), *children_of(int(first))]
            assert len(pids) > 3
            assert all(is_alive(pid) for pid in pids)
            owner.kill()
        wait_until(
            lambda: not any(is_alive(pid) for pid in pids), seconds=120, what="the servers ended with their owner"
        )
        for directory in directories:
            assert Path(directory).parent == Path(room)
            assert Path(directory).exists()
        subprocess.run([sys.executable, "-c", clean_up], check=True, timeout=60, env=elsewhere)
        for directory in directories:
            assert not Path(directory).exists()


def test_servers_end_with_an_interpreter_that_forgot_them() -> None:
    code = """
from tests.services import RedisServer
server = RedisServer()
server.start()
print(server.pid, server.directory, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    pid, directory = done.stdout.split()
    assert not is_alive(int(pid))
    assert not Path(directory).exists()


def test_a_server_outlives_the_thread_that_has_started_it() -> None:
    with PostgresServer() as server:
        for what in (server.stop, server.start):
            one = threading.Thread(target=what)
            one.start()
            one.join()
        url = server.create_database()
        assert server.is_running, url


def test_a_forked_child_does_not_stop_its_parents_server() -> None:
    with RedisServer() as server:
        child = os.fork()
        if child == 0:
            server.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert server.is_running
        assert server.directory.exists()


def test_a_server_in_use_is_no_leftover(redis_server: RedisServer) -> None:
    remove_leftovers("crowbar-redis-")
    assert redis_server.directory.exists()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = RedisServer()
    server._command = lambda: [find_program("redis-server"), "--port", "nonsense"]  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match=r"redis ended at once:[\s\S]*nonsense"):
        server.start()
    server.close()
    assert not server.directory.exists()


def test_a_taken_port_is_given_up_for_another(redis_server: RedisServer) -> None:
    server = RedisServer()
    server.port = redis_server.port
    with server:
        assert server.port != redis_server.port
        assert server.client().ping()


def test_a_missing_program_is_an_error_that_names_the_way_out() -> None:
    with pytest.raises(ServiceError, match=r"no-such-program is not installed: .*\./dev setup test"):
        find_program("no-such-program")


def test_free_ports_are_free_for_both_families() -> None:
    assert free_port() != free_port()
    assert free_port("::1") > 1023


def test_a_free_port_is_none_that_an_outgoing_connection_could_take() -> None:
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(1023 < free_port() < given for _ in range(100))


def test_a_port_that_somebody_has_for_udp_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = free_port()
    ports = iter([taken, taken + 1])
    monkeypatch.setattr(secrets, "randbelow", lambda _: next(ports) - 10_000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", taken))
        assert free_port() == taken + 1


def test_waiting_ends_when_the_answer_comes_or_time_is_up() -> None:
    event = threading.Event()
    threading.Timer(0.1, event.set).start()
    assert wait_until(event.is_set, seconds=120, what="the event")
    with pytest.raises(AssertionError, match=r"the moon: not within 0.05 s"):
        wait_until(lambda: False, seconds=0.05, what="the moon")


def test_nothing_exported_outside_reaches_a_test() -> None:
    assert not [name for name in os.environ if name.startswith("CROWBAR_")]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
