"""Files: only those, only below one root, whole or a range, to many at once; loaders are made, not kept."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from crowbar_provisioner.boot import loading
from crowbar_provisioner.boot.answers import NotHere
from crowbar_provisioner.boot.files import opened

from .conftest import Site
from .light import Machine


def test_the_image_is_given_whole_and_in_ranges(site: Site) -> None:
    machine = site.machine()
    machine.power_on()
    path, whole = f"/b/{machine.token}/vmlinuz", bytes(range(256)) * 64
    answer = machine.ask("GET", path)
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, whole, str(len(whole)))
    for asked, first, last in (("0-0", 0, 1), ("100-199", 100, 200), ("16000-", 16000, 16384), ("-10", 16374, 16384)):
        part = machine.ask("GET", path, Range=f"bytes={asked}")
        assert (part.status, part.body) == (206, whole[first:last])
        assert part.headers["Content-Range"] == f"bytes {first}-{last - 1}/16384"
    assert machine.ask("GET", path, Range="bytes=16384-").status == 416
    assert machine.ask("GET", path, Range="bytes=0-1,5-6").body == whole
    assert machine.ask("GET", path, Range="lines=1").body == whole
    head = machine.ask("HEAD", path)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "16384")
    assert machine.ask("GET", f"/b/{machine.token}/initrd.img").body == b"initrd" * 5000


def answered(machine: Machine, body: bytes) -> int:
    """The status, once it is heard: of a server that answers before all was sent, and closes, it may get lost."""
    for _ in range(100):
        with contextlib.suppress(ConnectionError):
            return machine.ask("POST", "/v1/register", body).status
    raise AssertionError("no answer was heard")


def test_nothing_else_is_there(site: Site) -> None:
    machine = site.machine()
    machine.power_on()
    (site.root / "secret").write_text("secret")
    (site.root / "sledgehammer" / "config").write_text("secret")
    token = machine.token
    for path in (
        "/", "/secret", "/../secret", "/..%2fsecret", f"/b/{token}/config", f"/b/{token}/../secret",
        "/loaders/ipxe.efi",
        f"/b/{token}/..%2f..%2fsecret", f"/b/{token}/vmlinuz%00", f"/b/{token}/", f"/b/{token}/vmlinuz/..",
        "/v1/images/",
        "/v1/images/..", "/v1/images/debian-12.raw", "/v1/images/%2e%2e%2fsecret", "/ipxe/",
        f"/b/{'x' * 43}/vmlinuz", f"/b/{token[:-1]}/vmlinuz", "/sledgehammer/vmlinuz", "/api/v2/nodes", "/boot.ipxe/x",
    ):  # fmt: skip
        answer = machine.ask("GET", path)
        assert (answer.status, b"secret" in answer.body) == (404, False), path
    for method, path in (("POST", "/boot.ipxe"), ("DELETE", "/ipxe"), ("GET", "/v1/register"), ("PUT", "/v1/steps")):
        assert machine.ask(method, path).status == 405, path
    assert answered(machine, b"x" * (600 * 1024)) == 413
    for body in (b"", b"{}", b"\xff"):
        assert machine.ask("POST", "/v1/register", body).status == 422
    assert machine.ask("GET", "/ipxe?mac=nonsense").status == 422
    assert machine.ask("GET", "/ipxe").status == 422
    assert machine.ask("GET", "/boot.ipxe", Host="evil\tx").status in (400, 404)
    assert machine.ask("GET", "/boot.ipxe", Host="a||shell").status == 404


def test_the_first_script_and_loaders_are_for_all(site: Site) -> None:
    machine = site.machine()
    base = f"http://127.0.0.1:{site.port}"
    assert f"\nchain --replace --autofree {base}/ipxe?mac=" in machine.ask("GET", "/boot.ipxe").text
    assert machine.ask("GET", "/boot.ipxe", Host="[fd00::1]:8091").text.count("http://[fd00::1]:8091/ipxe?") == 1
    assert machine.ask("GET", "/ipxe.efi").status == 200


def test_links_do_not_lead_out_and_only_files_are_served(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "images").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    (root / "images" / "link").symlink_to(tmp_path / "outside")
    (root / "images" / "folder").symlink_to(tmp_path)
    (root / "images" / "inside").symlink_to(root / "images" / "real")
    (root / "images" / "real").write_text("real")
    os.mkfifo(root / "images" / "pipe")
    for parts in (("link",), ("folder", "outside"), ("pipe",), ("missing",), ("..", "..", "outside"), ("\0",), (".",)):
        with pytest.raises(NotHere):
            opened(root, "images", *parts)
    with opened(root, "images", "inside") as file:
        assert file.read() == b"real"


def test_machines_that_do_not_take_what_they_asked_for_keep_nobody_waiting(site: Site) -> None:
    big = site.root / "sledgehammer" / "initrd.img"
    old = big.read_bytes()
    big.write_bytes(b"\0" * (8 << 20))
    machine = site.machine()
    machine.power_on()
    slow = []
    try:
        for _ in range(50):
            client = socket.create_connection(("127.0.0.1", site.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(f"GET /b/{machine.token}/initrd.img HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            slow.append(client)
        assert all(client.recv(8) == b"HTTP/1.1" for client in slow)
        assert site.machine().power_on().startswith("#!ipxe")
        assert machine.ask("GET", f"/b/{machine.token}/vmlinuz").status == 200
    finally:
        for client in slow:
            client.close()
        big.write_bytes(old)


def test_an_operator_is_told_what_machines_cannot_boot_without(site: Site) -> None:
    def told() -> str:
        return " ".join(one.detail for one in dict(site.bed.ask("status_checks"))["provisioner"])

    image = site.root / "sledgehammer"
    assert "Machines cannot boot" not in told()
    (image / "initrd.img").rename(image / "gone")
    try:
        said = told()
    finally:
        (image / "gone").rename(image / "initrd.img")
    assert f"there is no initrd.img in {image}: crowbar sledgehammer build, where the boot service runs." in said


def test_what_is_missing_is_named_with_what_brings_it(tmp_path: Path) -> None:
    image, loaders = loading.missing(tmp_path)
    assert "there is no vmlinuz and no initrd.img in" in image
    assert loaders.startswith("There is no ipxe.efi and no undionly.kpxe and no local.efi in ")
    assert "apt-get install ipxe grub-efi-amd64-bin" in loaders
    for place, names in (("loaders", loading.LOADERS), ("sledgehammer", ("vmlinuz", "initrd.img"))):
        (tmp_path / place).mkdir()
        for name in names:
            (tmp_path / place / name).touch()
    assert loading.missing(tmp_path) == []


def test_loaders_are_made_of_what_packages_bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "ipxe"
    source.mkdir()
    monkeypatch.setattr(loading, "IPXE", source)
    (source / "ipxe.efi").write_bytes(b"MZ 1")
    said = loading.prepare(tmp_path / "files")
    assert (tmp_path / "files" / "loaders" / "ipxe.efi").read_bytes() == b"MZ 1"
    assert f"there is no {source / 'undionly.kpxe'}: install ipxe, for undionly.kpxe" in said
    (source / "ipxe.efi").write_bytes(b"MZ 2")
    loading.prepare(tmp_path / "files")
    assert (tmp_path / "files" / "loaders" / "ipxe.efi").read_bytes() == b"MZ 2"
    assert not list((tmp_path / "files" / "loaders").glob(".*"))
    local = tmp_path / "files" / "loaders" / "local.efi"
    if local.exists():
        assert local.read_bytes()[:2] == b"MZ"
    else:
        assert any("grub" in line for line in said)
