"""A whole machine for tests: User Mode Linux with systemd as its first process, three cards, and a switch.

Its root is this host's, read-only, with the packages of ``./dev setup machines`` and a disk of its own on top; what it
writes stays over a power cut. The switch is a network namespace of the same kernel, so that cards have carrier and
frames tags. eth0 is at a bridge with the lab's network, eth1 and eth2 are at the switch, which answers at 10.101.0.2
and fd00:101::2 untagged, and at 10.100.0.2 and fd00:100::2 in VLAN 100.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from crowbar_lab.keys import make_key
from crowbar_lab.lab import Lab

TOOLS = Path(__file__).parents[3] / ".cache/machines/root"
ADDRESS, ADDRESS6 = "10.77.0.50", "fd00:77::50"
NAME = "machine.lab.test"
TAP = "machine0"
MAC = "02:77:00:00:00:5"
VLAN = 100
UP_SECONDS = 400.0

INIT = r"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
for word in $(cat /proc/cmdline); do case $word in TOOLS=*|OWN=*) eval "$word" ;; esac; done
insmod /usr/lib/uml/modules/*/kernel/fs/overlayfs/overlay.ko
mount -t tmpfs tmpfs /mnt
mkdir /mnt/disk /mnt/root /mnt/tools
mount -t hostfs -o "$TOOLS" none /mnt/tools || exit 1
mount -t ext4 /dev/ubda /mnt/disk || exit 1
mkdir -p /mnt/disk/upper /mnt/disk/work
mount -t overlay -o "lowerdir=/mnt/tools:/,upperdir=/mnt/disk/upper,workdir=/mnt/disk/work" overlay /mnt/root || exit 1
cd /mnt/root
if [ ! -e etc/lab ]; then
    rm -rf etc/systemd/system etc/systemd/network etc/network etc/netplan etc/ssh etc/fstab etc/crowbar* etc/cloud
    mkdir -p etc/systemd/system etc/systemd/network etc/network/interfaces.d etc/netplan etc/ssh mnt var/lib/dhcp
    for tool in if-up.d if-down.d if-pre-up.d if-post-down.d; do cp -a "/mnt/tools/etc/network/$tool" etc/network/; done
    cp -r "$OWN/." .
    chmod 600 etc/ssh/*_key
    rm -f .dockerenv run/.containerenv
fi
mount -t proc proc proc
mount -t sysfs sys sys
mount -t devtmpfs dev dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs mnt
mkdir mnt/old
pivot_root . mnt/old
exec chroot . /bin/sh /etc/lab/start
"""
START = r"""
hostname machine
mkdir -p /run/modules/lib /run/sshd
mount -t tmpfs -o mode=700 tmpfs /root
mount -t tmpfs tmpfs /home
ln -s /usr/lib/uml/modules /run/modules/lib/modules
modprobe -d /run/modules -a ipv6 bridge veth 8021q af_packet
modprobe -d /run/modules bonding max_bonds=0
ip link set lo up
ip netns add sw
ip link set vec0 netns sw
ip -n sw -batch - <<END
link set lo up
link add up0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
link set vec0 master up0 up
link set up0 up
link add sw0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 vlan_filtering 1 vlan_default_pvid 0
link set sw0 up
END
for card in 0 1 2; do
    ip link add p$card netns sw type veth peer name eth$card address @MAC@$card
done
ip -n sw -batch - <<END
link set p0 master up0 up
link set p1 master sw0 up
link set p2 master sw0 up
addr add 10.101.0.2/24 dev sw0
addr add fd00:101::2/64 dev sw0 nodad
link add link sw0 name sw0.100 type vlan id 100
link set sw0.100 up
addr add 10.100.0.2/24 dev sw0.100
addr add fd00:100::2/64 dev sw0.100 nodad
END
sh /etc/lab/switch
exec /lib/systemd/systemd
"""
SWITCH = r"""# How the switch treats eth1 and eth2: $stacked has the words vlan and 802.3ad, or neither.
. /etc/lab/stacked
ip -n sw link del lacp 2>/dev/null
ports='p1 p2'
case " $stacked " in
*" 802.3ad "*)
    ip -n sw link add lacp type bond mode 802.3ad miimon 50 lacp_rate fast
    for port in p1 p2; do
        ip -n sw link set $port nomaster
        ip -n sw link set $port down
        ip -n sw link set $port master lacp
    done
    ip -n sw link set lacp up
    ports=lacp
    ;;
esac
for port in $ports; do
    ip -n sw link set $port nomaster
    ip -n sw link set $port master sw0
    ip -n sw link set $port up
    case " $stacked " in
    *" vlan "*) bridge -n sw vlan add dev $port vid 100 ;;
    *) bridge -n sw vlan add dev $port vid 1 pvid untagged ;;
    esac
done
bridge -n sw vlan add dev sw0 self vid 1 pvid untagged
bridge -n sw vlan add dev sw0 self vid 100
for port in $without; do ip -n sw link set $port down; done
:
"""
TARGET = """[Unit]
Description=What a machine of tests runs
Requires=basic.target lab-ssh.service
Wants=dbus.service systemd-networkd.service networking.service lab-more.service
After=lab-ssh.service
AllowIsolate=yes
"""
SSH = """[Unit]
Description=sshd
[Service]
ExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
Restart=always
"""
SSHD = """HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/lab/authorized_keys
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
StrictModes no
PidFile none
"""
NETWORKING = """[Unit]
Description=ifupdown
After=systemd-udev-settle.service
Wants=systemd-udev-settle.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ifup -a
"""
INTERFACES = "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n"
MASKED = (
    "systemd-networkd-wait-online.service", "systemd-timesyncd.service", "systemd-pstore.service",
    "systemd-firstboot.service", "systemd-logind.service", "systemd-hwdb-update.service", "systemd-sysusers.service",
    "systemd-journal-flush.service", "systemd-update-utmp.service", "systemd-binfmt.service", "apparmor.service",
    "systemd-random-seed.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "dev-hugepages.mount",
    "dev-mqueue.mount", "systemd-remount-fs.service", "kmod-static-nodes.service", "keyboard-setup.service",
    "systemd-journal-catalog-update.service", "systemd-machine-id-commit.service",
)  # fmt: skip


class Machine:
    """``files``: what is on its disk at the first start, by path."""

    def __init__(self, lab: Lab, directory: Path, files: Mapping[str, str]) -> None:
        if not (TOOLS / "usr/sbin/ifup").exists():
            pytest.fail("Machines of tests lack their packages: fetch them with ./dev setup machines")
        self.lab, self.directory = lab, directory
        pair = make_key()
        self.host_key = pair.public
        self.kernel: subprocess.Popen[bytes] | None = None
        key = lab.private_key
        assert key is not None
        own = {
            "/etc/lab/start": START.replace("@MAC@", MAC), "/etc/lab/switch": SWITCH,
            "/etc/lab/stacked": "stacked='802.3ad vlan' without=''\n", "/etc/systemd/system/lab.target": TARGET,
            "/etc/systemd/system/lab-ssh.service": SSH, "/etc/systemd/system/networking.service": NETWORKING,
            "/etc/ssh/sshd_config": SSHD, "/etc/ssh/host_key": pair.private, "/etc/hostname": "machine\n",
            "/etc/fstab": "", "/etc/network/interfaces": INTERFACES, "/etc/machine-id": f"{'5a' * 16}\n",
            "/etc/lab/authorized_keys": key.with_suffix(".pub").read_text(), **files,
        }  # fmt: skip
        for path, text in own.items():
            target = directory / "own" / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        (directory / "init").write_text(INIT)
        (directory / "init").chmod(0o755)
        disk = directory / "disk"
        with disk.open("wb") as made:
            made.truncate(256 << 20)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", str(disk)], check=True, env={"PATH": "/usr/sbin:/sbin"})
        lines = f"tuntap add dev {TAP} mode tap\nlink set {TAP} master lab0 up\n"
        lab.exec(["ip", "-batch", "-"], input=lines, text=True, check=True)

    def start(self) -> None:
        """Returns when its sshd answers at ``ADDRESS``."""
        run = self.directory / "run"
        shutil.rmtree(run, ignore_errors=True)
        command = [
            "setpriv", "--pdeathsig", "KILL",
            "unshare", "--pid", "--fork", "--kill-child", "linux.uml", "mem=384M", f"ubd0={self.directory}/disk",
            "rootfstype=hostfs", "rootflags=/", "ro", f"init={self.directory}/init", f"TOOLS={TOOLS}",
            f"OWN={self.directory}/own", f"vec0:transport=tap,ifname={TAP},depth=64", "con=null", "con0=null,fd:1",
            f"uml_dir={run}", "umid=machine", "quiet", "panic=1", "noreboot", "systemd.unit=lab.target",
            "systemd.show_status=0",
            *(f"systemd.mask={unit}" for unit in MASKED),
        ]  # fmt: skip
        with (self.directory / "console").open("ab") as console:
            self.kernel = self.lab.popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
                env={**self.lab.environment, "TMPDIR": "/dev/shm", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )  # fmt: skip
        deadline = time.monotonic() + UP_SECONDS
        while not self.answers():
            assert self.kernel.poll() is None, self.console()
            assert time.monotonic() < deadline, self.console()
            time.sleep(0.5)

    def power_off(self) -> None:
        """As if the plug were pulled."""
        if self.kernel is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.kernel.pid, signal.SIGKILL)
            self.kernel.wait()
            self.kernel = None

    def power_cycle(self) -> None:
        self.power_off()
        self.start()

    def cpu_seconds(self) -> float:
        """What it has taken of a processor since it was started: its kernel, and all that has run on it."""
        assert self.kernel is not None
        [own] = Path(f"/proc/{self.kernel.pid}/task/{self.kernel.pid}/children").read_text().split()
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                said = path.read_text().rpartition(")")[2].split()
                if said[3] == own:  # its session; with what has ended there, which it has waited for
                    ticks += sum(map(int, said[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def console(self) -> str:
        return (self.directory / "console").read_text(errors="replace")[-3000:]

    def command(self, command: str) -> list[str]:
        """The command line for ``lab.exec`` that logs in as root."""
        known = self.directory / "known_hosts"
        known.write_text(f"{ADDRESS} {self.host_key}\n")
        return [
            "ssh", "-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
            "-o", "LogLevel=ERROR", "-i", str(self.lab.private_key), f"root@{ADDRESS}", "--", command,
        ]  # fmt: skip

    def ssh(self, command: str, *, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        done = self.lab.exec(self.command(command), capture_output=True, text=True, timeout=timeout)
        assert isinstance(done, subprocess.CompletedProcess)
        return done

    def answers(self) -> bool:
        return self.ssh("true").returncode == 0

    def run(self, command: str) -> str:
        done = self.ssh(command)
        assert done.returncode == 0, done.stderr + self.console()
        return done.stdout

    def set_switch(self, stacked: str, *, without: Sequence[str] = ()) -> None:
        """``stacked``: with the words vlan and 802.3ad, or neither; ``without``: ports whose cable is out."""
        self.run(f"echo \"stacked='{stacked}' without='{' '.join(without)}'\" >/etc/lab/stacked; sh /etc/lab/switch")


@contextlib.contextmanager
def started(directory: Path, files: Mapping[str, str]) -> Iterator[Machine]:
    """A machine in a lab of its own, started."""
    with Lab.create(f"machine-{os.getpid()}", nodes=0, state_dir=directory / "labs", owner=os.getpid()) as lab:
        machine = Machine(lab, directory, files)
        try:
            machine.start()
            yield machine
        finally:
            machine.power_off()
