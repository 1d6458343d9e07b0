"""Real labs: their nodes answer, are apart from the host and from each other, lose power, and leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowbar_lab import linux
from crowbar_lab.errors import LabError, LabNotFound, LabUnavailable
from crowbar_lab.hammer import LabHammer
from crowbar_lab.host import find_tool
from crowbar_lab.lab import Lab, LabNode

from crowbar_core.testing import wait_until

pytestmark = pytest.mark.lab


def on(lab: Lab, node: str, script: str) -> str:
    """What a script prints, run by root on a node over SSH."""
    done = lab.exec(lab.ssh(node, [script]), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def answers_ping(lab: Lab, address: str) -> bool:
    return lab.exec(["ping", "-n", "-c1", "-W1", address], capture_output=True, timeout=60).returncode == 0


def namespaces() -> set[str]:
    """The network, mount, pid, uts, ipc and user namespaces that some process of this machine is in."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            for kind in ("net", "mnt", "pid", "uts", "ipc", "user"):
                try:
                    found.add(os.readlink(process / "ns" / kind))
                except OSError:
                    break  # it ended
    return found


def processes_of(lab_directory: Path, inside: set[str]) -> list[str]:
    """Processes that belong to a lab: by its directory in their command line, or by being in one of its namespaces."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes()
                spaces = {os.readlink(process / "ns" / kind) for kind in ("net", "pid")}
            except OSError:
                continue
            if os.fsencode(lab_directory) in line or spaces & inside:
                found.append(f"{process.name} {line!r}")
    return found


class Held:
    """Names of namespaces that stay theirs: the kernel gives a number out again as soon as nobody holds its namespace,
    and labs of other tests come and go meanwhile."""

    def __init__(self) -> None:
        self._descriptors: list[int] = []

    def spaces(self, *pids: int) -> set[str]:
        """The namespaces of these processes that are not this process's own."""
        found = set()
        for pid in pids:
            for kind in ("net", "mnt", "pid", "uts", "ipc", "user"):
                descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                self._descriptors.append(descriptor)
                name = os.readlink(f"/proc/self/fd/{descriptor}")
                if name != os.readlink(f"/proc/self/ns/{kind}"):
                    found.add(name)
        return found

    def spaces_of(self, lab: Lab) -> set[str]:
        return self.spaces(lab.describe()["keeper"], *(node.pid for node in lab.nodes if node.pid))

    def let_go(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.let_go()


def assert_nothing_left(directory: Path, spaces: set[str]) -> None:
    assert not directory.exists()
    assert processes_of(directory, spaces) == []
    assert str(directory) not in Path("/proc/mounts").read_text()
    assert not spaces & namespaces()


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labs")


@pytest.fixture(scope="module")
def lab(state_dir: Path) -> Iterator[Lab]:
    """One lab for the tests that leave its nodes on."""
    with Lab.create("shared", nodes=3, state_dir=state_dir, owner=os.getpid()) as made:
        yield made


@pytest.fixture
def node(lab: Lab) -> LabNode:
    return lab.node("node-1")


# ---- the nodes are real


def test_the_nodes_are_an_admin_node_and_numbered_ones(lab: Lab) -> None:
    assert [node.name for node in lab.nodes] == ["admin.lab.test", "node-1.lab.test", "node-2.lab.test"]
    assert [node.admin for node in lab.nodes] == [True, False, False]
    assert all(node.powered for node in lab.nodes)


def test_each_node_answers_ping_on_both_families(lab: Lab) -> None:
    for node in lab.nodes:
        assert answers_ping(lab, node.ipv4)
        assert answers_ping(lab, node.ipv6)


def test_each_node_lets_root_in_with_the_labs_key_and_shows_its_own_host_key(lab: Lab) -> None:
    # `ssh` of the lab insists on the host key that the description names.
    assert [on(lab, node.name, "hostname -f").strip() for node in lab.nodes] == [node.name for node in lab.nodes]
    assert len({node.host_key for node in lab.nodes}) == 3


def test_a_key_that_the_lab_does_not_know_is_refused(lab: Lab, node: LabNode, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    command = lab.ssh(node.name, ["true"], options=["-o", "BatchMode=yes"])
    command[command.index("-i") + 1] = str(tmp_path / "other")
    refused = lab.exec(command, capture_output=True, text=True, timeout=30)
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


def test_nodes_reach_each_other_and_the_server_but_nothing_else(lab: Lab, node: LabNode) -> None:
    other = lab.node("node-2")
    on(lab, node.name, f"ping -c1 -W2 {other.ipv4} && ping -c1 -W2 {other.ipv6} && ping -c1 -W2 10.77.0.1")
    assert on(lab, node.name, "ip route show default; ip -6 route show default; ip -br link | wc -l") == "2\n"


def test_a_terminal_can_be_had(lab: Lab, node: LabNode) -> None:
    done = lab.exec(
        lab.ssh(node.name, ["tty"], options=["-tt"]),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    assert done.stdout.strip() == "/dev/pts/0"


def test_files_can_be_pushed_by_sftp(lab: Lab, node: LabNode, tmp_path: Path) -> None:
    (tmp_path / "batch").write_text("put /proc/version /etc/pushed\n")
    command = lab.ssh(node.name)
    sftp = [find_tool("sftp", "openssh-client"), "-b", str(tmp_path / "batch"), *command[1:]]
    assert lab.exec(sftp, capture_output=True, timeout=30).returncode == 0
    assert on(lab, node.name, "cat /etc/pushed") == Path("/proc/version").read_text()


# ---- apart from the host and from each other


def test_what_root_writes_reaches_neither_the_host_nor_another_node(lab: Lab, node: LabNode) -> None:
    before = Path("/etc/passwd").read_bytes(), os.stat("/usr/bin")
    on(
        lab,
        node.name,
        "echo mine > /etc/only-here; echo x >> /etc/passwd; touch /usr/bin/new-tool; rm /usr/bin/id; touch /etc/hosts",
    )
    assert not os.path.exists("/etc/only-here")
    assert not os.path.exists("/usr/bin/new-tool")
    assert os.path.exists("/usr/bin/id")
    assert (Path("/etc/passwd").read_bytes(), os.stat("/usr/bin")) == before
    assert on(lab, "node-2", "ls /etc/only-here /usr/bin/new-tool 2>/dev/null; ls /usr/bin/id") == "/usr/bin/id\n"


def test_a_node_sees_only_its_own_processes(lab: Lab, node: LabNode) -> None:
    lines = on(lab, node.name, "ps -eo pid=,args=").splitlines()
    assert lines[0].split()[0] == "1"
    assert "sshd" in lines[0]
    # Its first process, and what this very log-in takes.
    assert len(lines) <= 5
    assert not any("pytest" in line or "keeper" in line for line in lines)


def test_root_finds_an_empty_home_with_only_the_keys(lab: Lab, node: LabNode) -> None:
    assert on(lab, node.name, "cd; find . -mindepth 1; cat .ssh/authorized_keys") == (
        "./.ssh\n./.ssh/authorized_keys\n" + (lab.directory / "id_ed25519.pub").read_text()
    )


def test_the_hosts_secrets_are_not_to_be_found(lab: Lab, node: LabNode) -> None:
    assert on(lab, node.name, "ls -A /home /opt /srv /mnt /media /boot /var/tmp | grep -v : | grep .; true") == ""
    host_keys = sorted(Path("/etc/ssh").glob("ssh_host_*"))
    found = on(lab, node.name, "cat /etc/ssh/ssh_host_* /etc/shadow*; ls -R /run /etc/ssl/private 2>/dev/null")
    for key in host_keys:
        assert key.read_text() not in found
    assert "$" not in on(lab, node.name, "cat /etc/shadow*")
    assert str(lab.directory) not in found
    # Nothing of the host's root directory but what every Debian has.
    assert set(on(lab, node.name, "ls /").split()) <= {
        "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt", "proc", "root",
        "run", "sbin", "srv", "sys", "tmp", "usr", "var",
    }  # fmt: skip


def test_the_directories_of_this_test_and_of_the_lab_are_not_visible(lab: Lab, node: LabNode) -> None:
    here = Path(__file__).resolve()
    assert on(lab, node.name, f"ls -d {lab.directory} {here} 2>/dev/null; true") == ""


def test_root_on_a_node_has_no_power_over_the_machine(lab: Lab, node: LabNode) -> None:
    swappiness = Path("/proc/sys/vm/swappiness").read_text()
    hostname = os.uname().nodename
    refused = [
        "sysctl -w vm.swappiness=1",
        "mount -o remount,rw /proc/sys",
        "umount /proc/sys",
        "umount /proc/sys/kernel/random/boot_id",
        "echo h > /proc/sysrq-trigger",
        "mknod /root/disk b 8 0",
        "mknod /root/memory c 1 1",
        "mount -t proc proc /mnt",
        "mount -t devtmpfs devtmpfs /mnt",
        "mount -o remount,rw /sys",
        "date -s 2001-01-01",
        "test -e /dev/kmsg",
        "test -e /dev/vda",
        "cat /proc/kcore | head -c1 | grep -q .",
    ]
    script = "; ".join(f"( {command} ) >/dev/null 2>&1 && echo '{command}'" for command in refused)
    assert on(lab, node.name, f"{script}; true") == ""
    on(
        lab,
        node.name,
        "hostname elsewhere && mount -t tmpfs tmpfs /mnt && sysctl -qw net.ipv4.ip_forward=1 && hostname node-1",
    )
    assert Path("/proc/sys/vm/swappiness").read_text() == swappiness
    assert os.uname().nodename == hostname


def test_paths_to_hide_are_hidden(state_dir: Path) -> None:
    # Two things that are there on every Debian, and readable to everybody.
    with Lab.create(
        "hiding", nodes=1, state_dir=state_dir, hide=[Path("/usr/share/doc"), Path("/etc/debian_version")]
    ) as lab:
        assert (
            on(lab, "admin", "ls /usr/share/doc; ls /etc/debian_version 2>/dev/null; ls -d /usr/share/man")
            == "/usr/share/man\n"
        )


def test_dev_has_what_a_program_expects_and_no_more(lab: Lab, node: LabNode) -> None:
    assert on(lab, node.name, "ls /dev").split() == sorted(
        ["fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"]
    )
    on(
        lab,
        node.name,
        "echo x > /dev/null; head -c4 /dev/urandom | wc -c | grep -q 4; echo x > /dev/shm/x; echo y > /dev/stderr",
    )


def test_a_nodes_console_needs_no_network_and_is_the_nodes_own(lab: Lab, node: LabNode) -> None:
    script = "cat; hostname; cat /etc/hostname; ps -o comm= 1; mknod /root/disk b 8 0 2>&1 | grep -c permitted"
    done = lab.console(node.name, ["sh", "-c", script], given="hello\n")
    assert done.stdout.splitlines() == ["hello", "node-1", "node-1", "sshd", "1"]
    with pytest.raises(LabError, match="false failed on"):
        lab.console(node.name, ["false"], check=True)


def test_an_orphan_on_a_node_is_reaped(lab: Lab, node: LabNode) -> None:
    on(lab, node.name, "setsid sh -c 'sleep 0.1 & exit' </dev/null >/dev/null 2>&1; true")
    wait_until(lambda: "sleep" not in on(lab, node.name, "ps -eo comm="))
    assert "defunct" not in on(lab, node.name, "ps -ef")


# ---- power


def test_power_off_ends_every_process_and_every_answer(state_dir: Path) -> None:
    with Lab.create("power-off", nodes=2, state_dir=state_dir) as lab:
        node = lab.node("node-1")
        on(lab, node.name, "setsid sleep 4321 </dev/null >/dev/null 2>&1 &")
        inside = {os.readlink(f"/proc/{node.pid}/ns/pid"), os.readlink(f"/proc/{node.pid}/ns/net")}
        assert any("4321" in line for line in processes_of(Path("/none"), inside))
        assert lab.power("node-1", "off") == "off"
        assert lab.power("node-1", "status") == "off"
        assert processes_of(Path("/none"), inside) == []
        assert not answers_ping(lab, node.ipv4)
        assert not answers_ping(lab, node.ipv6)
        assert (
            lab.exec(lab.ssh("node-1", ["true"], options=["-o", "ConnectTimeout=1"]), capture_output=True).returncode
            == 255
        )
        assert answers_ping(lab, lab.node("admin").ipv4)
        assert (lab.node("node-1").pid, lab.node("node-1").powered) == (None, False)
        assert lab.power("node-1", "off") == "off"


def test_power_on_finds_the_disk_as_it_was_and_the_rest_new(state_dir: Path) -> None:
    with Lab.create("power-on", nodes=1, state_dir=state_dir) as lab:
        on(
            lab,
            "admin",
            "echo kept > /etc/kept; rm /etc/debian_version; touch /root/kept /run/lost /tmp/lost /dev/shm/lost",
        )
        boot_id = on(lab, "admin", "cat /proc/sys/kernel/random/boot_id")
        before = lab.node("admin")
        lab.power("admin", "off")
        assert lab.power("admin", "on") == "on"
        after = lab.node("admin")
        assert (
            on(lab, "admin", "cat /etc/kept; ls /root /etc/debian_version 2>/dev/null; true") == "kept\n/root:\nkept\n"
        )
        assert on(lab, "admin", "ls /run/lost /tmp/lost /dev/shm/lost 2>/dev/null; true") == ""
        assert on(lab, "admin", "cat /proc/sys/kernel/random/boot_id") != boot_id
        assert (after.host_key, after.ipv4, after.mac) == (before.host_key, before.ipv4, before.mac)
        assert after.pid != before.pid
        assert after.boots == 2


def test_each_node_has_a_boot_id_of_its_own_which_stays_while_it_is_on(lab: Lab) -> None:
    ids = [on(lab, node.name, "cat /proc/sys/kernel/random/boot_id") for node in lab.nodes]
    assert len(set(ids)) == 3
    assert Path("/proc/sys/kernel/random/boot_id").read_text() not in ids
    assert on(lab, "node-1", "cat /proc/sys/kernel/random/boot_id") == ids[1]


def test_reset_ends_what_ran_and_boots_anew(state_dir: Path) -> None:
    with Lab.create("reset", nodes=1, state_dir=state_dir) as lab:
        for boots in range(2, 7):
            on(lab, "admin", "setsid sleep 4322 </dev/null >/dev/null 2>&1 &")
            assert lab.power("admin", "reset") == "on"
            assert "sleep" not in on(lab, "admin", "ps -eo args=")
            assert lab.node("admin").boots == boots
        # A node that is on stays as it is.
        pid = lab.node("admin").pid
        assert lab.power("admin", "on") == "on"
        assert lab.node("admin").pid == pid


def test_a_node_whose_root_reboots_it_comes_back_by_itself(state_dir: Path) -> None:
    with Lab.create("reboot", nodes=1, state_dir=state_dir) as lab:
        reboot = "python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x01234567)'"
        lab.exec(lab.ssh("admin", [reboot]), capture_output=True, timeout=30)
        wait_until(lambda: lab.node("admin").boots == 2 and lab.node("admin").powered)
        wait_until(lambda: lab.exec(lab.ssh("admin", ["true"]), capture_output=True).returncode == 0)


def test_a_node_killed_from_outside_is_seen_to_be_off(state_dir: Path) -> None:
    with Lab.create("killed", nodes=1, state_dir=state_dir) as lab:
        pid = lab.node("admin").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: lab.power("admin", "status") == "off")
        assert lab.power("admin", "on") == "on"
        on(lab, "admin", "true")


def test_a_node_whose_sshd_cannot_start_says_why(state_dir: Path) -> None:
    with Lab.create("broken", nodes=1, state_dir=state_dir) as lab:
        on(lab, "admin", "echo 'Nonsense yes' > /etc/ssh/sshd_config")
        with pytest.raises(LabError, match="Nonsense"):
            lab.power("admin", "reset")
        assert lab.power("admin", "status") == "off"


def test_the_hammer_powers_the_node(state_dir: Path) -> None:
    with Lab.create("hammered", nodes=1, state_dir=state_dir) as lab:
        hammer = LabHammer({"lab": "hammered", "node": "admin.lab.test", "state_dir": str(state_dir)})
        assert hammer.actions() == ("on", "off", "reset", "status")
        assert [hammer.perform(action) for action in ("status", "off", "status", "on", "reset")] == [
            "on",
            "off",
            "off",
            "on",
            "on",
        ]
        assert lab.node("admin").boots == 3
        with pytest.raises(LabError, match="explode"):
            hammer.perform("explode")


# ---- making


def test_a_node_can_be_added(state_dir: Path) -> None:
    with Lab.create("adding", nodes=1, state_dir=state_dir) as lab:
        assert lab.add_node().name == "node-1.lab.test"
        added = lab.add_node("db.rack2.lab.test")
        assert (
            on(lab, "db", f"hostname -f; ping -c1 -W2 {lab.nodes[1].ipv6} >/dev/null && echo reached")
            == "db.rack2.lab.test\nreached\n"
        )
        assert added.number == 2
        with pytest.raises(LabError, match="already"):
            lab.add_node("db.rack2.lab.test")
        assert len(lab.nodes) == 3


def test_a_given_public_key_opens_the_nodes_and_no_private_key_is_kept(state_dir: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "mine")], check=True)
    with Lab.create(
        "own-key", nodes=1, state_dir=state_dir, authorized_keys=[(tmp_path / "mine.pub").read_text().strip()]
    ) as lab:
        assert lab.private_key is None
        assert not (lab.directory / "id_ed25519").exists()
        command = lab.ssh("admin", ["hostname"], options=["-i", str(tmp_path / "mine")])
        assert lab.exec(command, capture_output=True, text=True).stdout == "admin\n"


def test_labs_with_the_same_addresses_stand_side_by_side(state_dir: Path) -> None:
    with (
        Lab.create("left", nodes=1, state_dir=state_dir) as left,
        Lab.create("right", nodes=1, state_dir=state_dir) as right,
    ):
        assert left.nodes[0].ipv4 == right.nodes[0].ipv4
        on(left, "admin", "echo left > /etc/side")
        on(right, "admin", "echo right > /etc/side")
        assert (on(left, "admin", "cat /etc/side"), on(right, "admin", "cat /etc/side")) == ("left\n", "right\n")
        left.destroy()
        assert on(right, "admin", "cat /etc/side") == "right\n"
        assert "right" in Lab.names(state_dir=state_dir)
        assert "left" not in Lab.names(state_dir=state_dir)


def test_a_second_lab_of_the_same_name_is_refused(lab: Lab) -> None:
    with pytest.raises(LabError, match="There is a lab shared already"):
        Lab.create("shared", nodes=1, state_dir=lab.directory.parent)
    assert answers_ping(lab, lab.nodes[0].ipv4)


def test_the_labs_description_is_json_with_what_is_public(lab: Lab) -> None:
    described = json.loads((lab.directory / "lab.json").read_text())
    assert described["server_ipv4"] == "10.77.0.1/16"
    assert described["server_ipv6"] == "fd00:77::1/64"
    assert set(described["nodes"][0]) == {
        "number",
        "name",
        "admin",
        "ipv4",
        "ipv6",
        "mac",
        "host_key",
        "powered",
        "pid",
        "boots",
        "cards",
    }
    assert (lab.directory / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert lab.directory.stat().st_mode & 0o777 == 0o700
    for file in lab.directory.iterdir():
        if file.is_file() and file.name != "id_ed25519":
            assert "PRIVATE KEY" not in file.read_text()


def test_a_server_in_the_labs_namespace_is_reached_by_the_nodes(lab: Lab, node: LabNode) -> None:
    server = lab.popen(
        [sys.executable, "-m", "http.server", "8000", "--bind", "::"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/var/empty" if os.path.isdir("/var/empty") else "/proc/self",
    )
    try:
        fetch = "python3 -c \"import urllib.request as u; print(u.urlopen('http://{}:8000/', timeout=60).status)\""
        wait_until(lambda: lab.exec(["ss", "-Hltn", "sport = :8000"], capture_output=True).stdout != b"")
        assert on(lab, node.name, fetch.format("10.77.0.1")) == "200\n"
        assert on(lab, node.name, fetch.format("[fd00:77::1]")) == "200\n"
    finally:
        server.kill()
        server.wait()


# ---- removing


def test_down_leaves_nothing(state_dir: Path, held: Held) -> None:
    before = namespaces(), Path("/proc/mounts").read_text(), Path("/run").stat().st_mtime_ns
    named = subprocess.run(["ip", "netns"], capture_output=True, check=True).stdout
    lab = Lab.create("leaving", nodes=3, state_dir=state_dir)
    spaces = held.spaces_of(lab)
    # The lab's own network, mount, pid, uts, ipc and user, and five for each node.
    assert len(spaces) == 6 - 1 + 1 + 3 * 5
    on(lab, "node-1", "setsid sleep 4323 </dev/null >/dev/null 2>&1 &")
    lab.power("node-2", "off")
    lab.destroy()
    assert_nothing_left(lab.directory, spaces)
    assert Path("/proc/mounts").read_text() == before[1]
    assert Path("/run").stat().st_mtime_ns == before[2]
    assert subprocess.run(["ip", "netns"], capture_output=True, check=True).stdout == named
    lab.destroy()
    assert Lab.remove("leaving", state_dir=state_dir) is False
    with pytest.raises(LabNotFound, match="no lab leaving"):
        Lab.load("leaving", state_dir=state_dir)


def test_down_ends_what_was_started_in_the_labs_namespace(state_dir: Path, held: Held) -> None:
    lab = Lab.create("guests", nodes=1, state_dir=state_dir)
    spaces = held.spaces_of(lab)
    polite = lab.popen(["sleep", "4324"])
    stubborn = lab.popen(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(99)",
        ],
        stdout=subprocess.PIPE,
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    unmarked = subprocess.Popen([find_tool("nsenter", "util-linux"), f"--net={lab.namespace}", "sleep", "4325"])
    wait_until(lambda: os.readlink(f"/proc/{unmarked.pid}/ns/net") in spaces)
    wait_until(lambda: os.readlink(f"/proc/{polite.pid}/ns/net") in spaces)
    lab.destroy()
    assert [process.wait(timeout=60) for process in (polite, unmarked, stubborn)] == [-15, -15, -9]
    stubborn.stdout.close()
    assert_nothing_left(lab.directory, spaces)


def test_down_works_when_the_keeper_was_killed(state_dir: Path, held: Held) -> None:
    lab = Lab.create("beheaded", nodes=2, state_dir=state_dir)
    spaces = held.spaces_of(lab)
    guest = lab.popen(["sleep", "4326"])
    wait_until(lambda: os.readlink(f"/proc/{guest.pid}/ns/net") in spaces)
    keeper = lab.describe()["keeper"]
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: linux.started(keeper) is None)
    with pytest.raises(LabNotFound, match="does not run any more"):
        Lab.load("beheaded", state_dir=state_dir)
    assert Lab.remove("beheaded", state_dir=state_dir)
    assert guest.wait(timeout=60) == -15
    assert_nothing_left(lab.directory, spaces)


def test_a_lab_with_an_owner_ends_when_that_is_killed(state_dir: Path, held: Held) -> None:
    script = (
        "import os, sys; from pathlib import Path; from crowbar_lab.lab import Lab; "
        "Lab.create('owned', nodes=2, state_dir=Path(sys.argv[1]), owner=os.getpid()); print(1, flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script, str(state_dir)], **pipes) as owner:  # type: ignore[call-overload]
        owner.stdout.readline()
        lab = Lab.load("owned", state_dir=state_dir)
        spaces, keeper = held.spaces_of(lab), lab.describe()["keeper"]
        owner.kill()
    wait_until(lambda: linux.started(keeper) is None)
    with pytest.raises(LabNotFound, match="does not run any more"):
        Lab.load("owned", state_dir=state_dir)
    assert Lab.remove("owned", state_dir=state_dir)
    assert_nothing_left(lab.directory, spaces)


def test_remains_of_a_dead_lab_do_not_stand_in_the_way_of_a_new_one(state_dir: Path) -> None:
    lab = Lab.create("again", nodes=1, state_dir=state_dir)
    keeper = lab.describe()["keeper"]
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: linux.started(keeper) is None)
    with Lab.create("again", nodes=1, state_dir=state_dir) as lab:
        on(lab, "admin", "true")


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15, 0.25, 0.35, 0.5, 0.8])
def test_down_cleans_up_after_a_creation_that_was_killed_in_the_middle(
    state_dir: Path, held: Held, delay: float
) -> None:
    script = (
        "import sys; from pathlib import Path; from crowbar_lab.lab import Lab; "
        "print(1, flush=True); Lab.create('cut', nodes=40, state_dir=Path(sys.argv[1]))"
    )
    creator = subprocess.Popen([sys.executable, "-c", script, str(state_dir)], stdout=subprocess.PIPE)
    assert creator.stdout is not None
    creator.stdout.readline()
    threading.Event().wait(delay)  # the moment of the accident, not something that is waited for
    creator.kill()
    creator.wait()
    creator.stdout.close()
    try:
        keeper = json.loads((state_dir / "cut/keeper.json").read_text())["pid"]
        spaces = held.spaces(keeper)
    except OSError:
        spaces = set()
    Lab.remove("cut", state_dir=state_dir)
    assert_nothing_left(state_dir / "cut", spaces)
    with Lab.create("cut", nodes=1, state_dir=state_dir) as lab:
        on(lab, "admin", "true")


def test_a_directory_that_is_no_lab_is_not_removed(state_dir: Path) -> None:
    (state_dir / "precious").mkdir()
    (state_dir / "precious/file").write_text("mine")
    with pytest.raises(LabError, match="not the directory of a lab"):
        Lab.remove("precious", state_dir=state_dir)
    assert (state_dir / "precious/file").read_text() == "mine"
    shutil.rmtree(state_dir / "precious")


# ---- size


@pytest.mark.slow
def test_a_hundred_nodes_take_ten_megabytes_each_at_most(state_dir: Path, held: Held) -> None:
    def used_kilobytes() -> int:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemTotal"].split()[0]) - int(fields["MemAvailable"].split()[0])

    before = used_kilobytes()
    with Lab.create("hundred", nodes=101, state_dir=state_dir) as lab:
        assert used_kilobytes() - before < 101 * 10 * 1024
        for node in lab.nodes[::10]:
            assert on(lab, node.name, "hostname").strip() == node.name.partition(".")[0]
        spaces = held.spaces_of(lab)
    assert_nothing_left(lab.directory, spaces)


# ---- where it is not possible


def test_without_root_one_sentence_says_so() -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    for arguments in (["up"], ["down"], ["status"]):
        done = subprocess.run(
            [*nobody, sys.executable, "-m", "crowbar_lab.commands", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
        )
        assert done.returncode == 1
        assert done.stderr == "Error: A lab needs root, and this is user id 65534: run the command with sudo.\n"
        assert done.stdout == ""


def test_a_machine_that_refuses_namespaces_is_named_in_one_sentence(state_dir: Path) -> None:
    # CAP_SYS_ADMIN is what containers usually lack.
    code = (
        "import sys; from pathlib import Path; from crowbar_lab.lab import Lab; "
        "Lab.create('refused', nodes=1, state_dir=Path(sys.argv[1]))"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", "--", sys.executable, "-c", code, str(state_dir)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "crowbar_lab.errors.LabUnavailable: No lab can be made: this machine does not let root make a mount namespace "
        "(Operation not permitted): use a machine, or a privileged container, that does."
    )
    assert not (state_dir / "refused").exists()


def test_a_missing_tool_is_named_with_its_package() -> None:
    with pytest.raises(LabUnavailable, match=r"no-such-tool, which is not installed: apt-get install some-package\."):
        find_tool("no-such-tool", "some-package")
