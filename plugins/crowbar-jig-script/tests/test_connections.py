"""One connection per node, kept while it answers; host keys that are known, and no others; probes that end in time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from crowbar_jig_script.connections import fingerprint
from crowbar_jig_script.ping import ping
from crowbar_jig_script.probe import probe

from crowbar_core import ConfigError, CrowbarError, NodeUnreachable, NodeView, PermanentError, Probe
from crowbar_core.testing import wait_until

from .conftest import Site

pytestmark = pytest.mark.lab

OWN_SSHD = "read -r _ _ _ sshd _ </proc/$PPID/stat"
"""The sshd of the connection that carries the script: the parent of the shell that stands by, which is its own."""


def logins(site: Site) -> int:
    return int(site.on_node("grep -c '^Accepted publickey' /var/log/sshd.log"))


def probed(site: Site, **given: object) -> Probe:
    answer = probe(site.view(**given), site.jig.connections)
    assert answer is not None
    return answer


def test_many_probes_and_runs_share_one_login(site: Site) -> None:
    site.scripts({"10-only.sh": "true"})
    before = logins(site)
    for _ in range(5):
        assert probed(site).alive
        site.run("true")
    site.fail("exit 1")
    assert logins(site) - before == 2, "one for all these, and one for the question before"


def test_a_connection_that_was_dropped_between_runs_is_made_again(site: Site) -> None:
    site.run("true")
    kept = site.jig.connections.kept(site.name, site.node.ipv4)
    first = kept.session
    site.run(f'{OWN_SSHD}; setsid sh -c "sleep 0.3; kill -9 $sshd" </dev/null >/dev/null 2>&1 &')
    assert first is not None
    first.join(60)
    assert not first.is_alive()
    assert site.run("echo again").out == ["again"]
    assert kept.session is not first


def test_a_connection_whose_server_hangs_does_not_count(sites: Callable[..., Site]) -> None:
    site = sites(connect_timeout=5.0)
    assert probed(site).alive
    first = site.jig.connections.kept(site.name, site.node.ipv4).session
    site.run(f'{OWN_SSHD}; setsid sh -c "sleep 0.2; kill -STOP $sshd" </dev/null >/dev/null 2>&1 &')
    wait_until(lambda: "T" in site.on_node("ps -o stat= -C sshd"))
    assert probed(site).alive, "a fresh login works"
    assert site.jig.connections.kept(site.name, site.node.ipv4).session is not first
    site.on_node("pkill -CONT sshd")


def test_nodes_are_reached_over_ipv6_too(site: Site) -> None:
    seen = probed(site, addresses=(site.node.ipv6,))
    assert (seen.alive, seen.address) == (True, site.node.ipv6)
    ran = site.run("echo ${SSH_CONNECTION%% *}", node=site.view(addresses=(site.node.ipv6,)))
    assert ":" in ran.out[0]


def test_the_first_contact_takes_the_key_that_the_node_shows(site: Site) -> None:
    seen = probed(site, host_keys=())
    assert seen.host_keys == (site.node.host_key,)


def test_an_unknown_key_is_not_taken_where_only_the_node_says_that_it_is(site: Site) -> None:
    """Another machine answers there, and lets root in: it must not become the node for that."""
    claimed = site.node.ipv4
    seen = probed(site, host_keys=(), addresses=(claimed,), reported_addresses=(claimed,))
    assert (seen.alive, seen.host_keys) == (False, ())
    assert "is not known yet" in seen.reason
    thief = site.lab.nodes[2].host_key
    seen = probed(site, host_keys=(thief,), addresses=(claimed,), reported_addresses=(claimed,))
    assert not seen.alive
    assert probed(site, addresses=(claimed,), reported_addresses=(claimed,)).alive, "its own key is known"


def test_a_run_on_a_node_whose_key_nobody_has_seen_is_refused(site: Site) -> None:
    problem = site.fail("true", node=site.view(host_keys=()))
    assert isinstance(problem, PermanentError)
    assert "is not known yet" in problem.detail
    assert fingerprint(site.node.host_key) in problem.detail


def test_a_changed_key_is_refused_with_both_fingerprints_and_the_way_out(site: Site) -> None:
    other = site.lab.nodes[2].host_key
    expected = (
        f"host key of node {site.name} changed (known {fingerprint(other)}, shown {fingerprint(site.node.host_key)});"
        f" if the machine was reinstalled, forget the old key with: crowbar nodes forget-key {site.name}"
    )
    problem = site.fail("touch /tmp/refused", node=site.view(host_keys=(other,)))
    assert isinstance(problem, PermanentError)
    assert problem.detail == expected
    seen = probed(site, host_keys=(other,))
    assert not seen.alive
    assert expected in seen.reason
    assert site.on_node("ls /tmp/refused 2>/dev/null") == ""


def test_a_kept_connection_does_not_outlive_the_key_it_was_made_with(site: Site) -> None:
    assert probed(site).alive
    assert not probed(site, host_keys=(site.lab.nodes[2].host_key,)).alive
    assert probed(site, host_keys=()).host_keys == (site.node.host_key,)


def test_a_server_that_has_none_of_the_known_kinds_of_key_has_changed(site: Site) -> None:
    known = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA=="
    assert "changed" in site.fail("true", node=site.view(host_keys=(known,))).detail


@pytest.mark.timeout(60)  # one after the other they would take longer
def test_a_dead_address_is_found_out_in_time_and_many_at_once_as_fast(site: Site) -> None:
    dead = [dataclasses.replace(site.view(), addresses=(f"10.77.99.{n}", f"fd00:77::99:{n}")) for n in range(1, 41)]
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda node: probe(node, site.jig.connections), dead))
    for node, answer in zip(dead, answers, strict=True):
        assert answer is not None
        assert not answer.alive
        assert all(address in answer.reason for address in node.addresses)


def test_the_first_address_that_works_is_taken(site: Site) -> None:
    seen = probed(site, addresses=("fe80::1", "10.77.99.1", site.node.ipv6, site.node.ipv4))
    assert (seen.alive, seen.address) == (True, site.node.ipv6)


def test_a_node_that_answers_ping_but_not_ssh_is_not_alive(sites: Callable[..., Site]) -> None:
    assert "cannot be reached on port 2: Connection refused" in probed(sites(port=2)).reason


@pytest.mark.timeout(60)
def test_a_port_that_is_silent_is_given_up_in_time(
    sites: Callable[..., Site], capfd: pytest.CaptureFixture[str]
) -> None:
    site = sites(port=2301, connect_timeout=1.0)
    site.on_node(
        "setsid /usr/bin/python3 -c 'import socket, time; s = socket.create_server((\"\", 2301)); time.sleep(600)'"
        " </dev/null >/dev/null 2>&1 & sleep 0.5"
    )
    assert "does not answer as an SSH server" in probed(site).reason
    assert capfd.readouterr().err == "", "a node that does not answer is no traceback"
    site.on_node("pkill -f create_server")


def test_a_key_that_root_does_not_know_is_refused(sites: Callable[..., Site]) -> None:
    site = sites()
    site.lab.exec(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(site.package / "key")], check=True)
    stranger = sites(key_file=str(site.package / "key"))
    assert "does not let root in" in probed(stranger).reason
    assert isinstance(stranger.fail("true"), NodeUnreachable)


@pytest.mark.parametrize(
    "kind, says", [("absent", "does not exist"), ("locked", "has a passphrase"), ("junk", "cannot be read")]
)
def test_a_key_file_that_is_no_use_is_named_with_the_setting(sites: Callable[..., Site], kind: str, says: str) -> None:
    site = sites()
    path = site.package / kind
    if kind == "locked":
        site.lab.exec(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(path)], check=True)
    elif kind == "junk":
        path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----\n")
    broken = sites(key_file=str(path))
    problem = broken.fail("true")
    assert isinstance(problem, ConfigError)
    assert says in problem.detail
    assert "key_file" in problem.detail
    assert says in probed(broken).reason


def test_a_node_without_addresses_is_for_others_to_answer(site: Site) -> None:
    assert probe(NodeView(id=1, name="a.b.c"), site.jig.connections) is None


def test_connections_that_carry_nothing_are_closed(sites: Callable[..., Site]) -> None:
    for config in ({"idle_close": 0.05}, {"keep_at_most": 1}):
        site = sites(**config)
        other = sites(node=2, **config)
        assert site.jig.connections is other.jig.connections
        assert probed(site).alive
        first = site.jig.connections.kept(site.name, site.node.ipv4).session
        assert first is not None
        time.sleep(0.1)
        assert probed(other).alive
        first.join(60)
        assert not first.is_alive()


def test_closing_the_jig_closes_every_connection_and_ends_their_threads(site: Site) -> None:
    assert probed(site).alive
    session = site.jig.connections.kept(site.name, site.node.ipv4).session
    assert session is not None
    site.jig.close()
    assert not session.is_alive()
    assert site.run("echo once more").out == ["once more"]


def test_ping_tells_the_living_from_the_dead_on_both_families(site: Site) -> None:
    assert ping(site.node.ipv4, timeout=30.0) is None
    assert ping(site.node.ipv6, timeout=30.0) is None
    assert ping("10.77.99.9", timeout=0.3)
    assert ping("192.0.2.1", timeout=0.3)
    with pytest.raises((CrowbarError, ValueError)):
        ping("; reboot", timeout=0.1)
