"""From whom a machine is told to take its image, and what it says of that."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from crowbar_provisioner.images.compressing import compress

from .conftest import Site
from .light import Machine, host_key
from .test_installing import IMAGE, Installation, describe


@pytest.fixture(autouse=True)
def image(site: Site) -> None:
    (site.root / "images" / "debian-12.raw").write_bytes(IMAGE)
    describe(site)


@pytest.fixture
def first(site: Site) -> Iterator[Installation]:
    yield from writing(site)


@pytest.fixture
def second(site: Site) -> Iterator[Installation]:
    yield from writing(site)


def writing(site: Site) -> Iterator[Installation]:
    """A machine that is about to write its image."""
    for machine in site.managed():
        one = Installation(site, machine)
        one.begin(reset=False)
        one.says("image", "begun")
        yield one


def source(one: Installation, *, without: tuple[int, ...] = (), status: int = 200) -> Any:
    asked = {"id": one.machine.work()["work"]["id"], "without": list(without)}
    answer = one.machine.ask("POST", "/v1/source", asked)
    assert answer.status == status, answer.text
    return answer.json.get("peer")


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_first_takes_it_from_the_boot_service_and_the_next_from_the_first(
    first: Installation, second: Installation
) -> None:
    assert first.machine.work()["work"]["image"]["peers"] == {"port": 8093, "seconds": 1800}
    assert (source(first), source(first)) == (None, None)
    peer = source(second)
    work = second.machine.work()["work"]["id"]
    assert peer == {
        "id": peer["id"], "name": first.name, "url": f"http://{first.machine.source}:8093", "quiet": 20,
        "token": hashed(f"{hashed(first.machine.token)} {work}"),
    }  # fmt: skip
    assert source(second, without=(peer["id"],)) is None
    assert source(first) is None, "nobody waits in a circle"


@pytest.mark.parametrize("end", ["failed", "grow", "silent"])
def test_who_has_ended_or_is_silent_is_not_named(
    site: Site, first: Installation, second: Installation, end: str
) -> None:  # fmt: skip
    source(first)
    assert source(second)["name"] == first.name
    if end == "failed":
        first.says("image", "failed", detail="its disk is broken")
    elif end == "grow":
        first.says("grow", "begun")
    else:
        site.bed.clock.advance(50)  # type: ignore[attr-defined]
        first.says("image", "begun", percent=50)
        site.bed.clock.advance(50)  # type: ignore[attr-defined]
        assert source(second)["name"] == first.name
        site.bed.clock.advance(11)  # type: ignore[attr-defined]
    assert source(second) is None


def test_who_boots_again_stands_last(site: Site, first: Installation, second: Installation) -> None:
    source(first)
    source(second)
    site.bed.change_node(first.name, alive=False)
    first.machine.power_on()
    first.machine.registered()
    first.says("image", "begun")
    assert source(first)["name"] == second.name
    assert source(second) is None


def test_from_whom_it_came_stands_in_the_log_of_the_run(site: Site, first: Installation) -> None:
    source(first)
    first.says("image", detail="472 MiB from d1.example.org, 8 MiB from the boot service")
    first.says("installed", host_keys=[host_key()])
    first.settle()
    log = site.web.get(f"/api/v2/runs/{first.run['id']}/log").json
    said = "the disk is written: the image came 472 MiB from d1.example.org, 8 MiB from the boot service"
    assert said in [line["line"] for line in log]


def begin_anew(site: Site, one: Installation) -> Any:
    """What it is told of its image then."""
    one.says("image", "failed", detail="begun anew")
    one.settle()
    key = site.bed.node_role("provisioner-os-install", one.name).id
    assert site.web.put(f"/api/v2/node_roles/{key}/retry").status_code == 200
    one.settle()
    one.machine.power_on()
    one.machine.registered()
    return one.machine.work()["work"]["image"]


def test_a_compressed_image_is_passed_on_if_each_piece_is_compressed_for_itself(
    site: Site, first: Installation, second: Installation
) -> None:
    content, images = hashlib.blake2b(IMAGE).hexdigest(), site.root / "images"
    packed = subprocess.run(["zstd", "-q", "-c"], input=IMAGE, capture_output=True, check=True).stdout
    (images / "debian-12.raw.zst").write_bytes(packed)
    about = {"file": "debian-12.raw.zst", "sha256": hashlib.sha256(packed).hexdigest(), "size": len(packed)}
    describe(site, format="raw.zst", blake2b=content, **about)
    assert begin_anew(site, first)["peers"] is None
    source(first, status=409)

    compress(images, "debian-12")
    assert [begin_anew(site, one)["peers"] for one in (first, second)] == [{"port": 8093, "seconds": 1800}] * 2
    first.says("image", "begun")
    source(first)
    assert source(second)["name"] == first.name
    size = (images / "debian-12.raw.zst").stat().st_size
    answer = first.machine.ask("GET", "/v1/images/debian-12.raw.zst/sums")
    assert answer.text == f"{hashlib.blake2b(IMAGE, digest_size=32).hexdigest()} 0 {size}\n"


def test_of_each_piece_of_an_image_its_checksum_is_told_to_who_is_written_it(site: Site, first: Installation) -> None:
    path = "/v1/images/debian-12.raw/sums"
    answer = first.machine.ask("GET", path)
    assert (answer.status, answer.text) == (200, hashlib.blake2b(IMAGE, digest_size=32).hexdigest() + "\n")
    other = site.machine()
    other.power_on()
    other.registered()
    assert [one.ask("GET", path, token=token).status for one, token in ((other, None), (other, "x" * 43))] == [404, 401]
    describe(site, sha256="0" * 64)
    assert first.machine.ask("GET", path).status == 409


def test_other_machines_are_named_nobody(site: Site, first: Installation) -> None:
    other: Machine = site.machine()
    other.power_on()
    other.registered()
    asked = {"id": first.machine.work()["work"]["id"], "without": []}
    assert other.ask("POST", "/v1/source", asked).status == 409
    assert other.ask("POST", "/v1/source", asked, token="x" * 43).status == 401
    assert first.machine.ask("POST", "/v1/source", {**asked, "id": "other"}).status == 409
    for bad in ([-1], ["1"], list(range(17)), "1"):
        assert first.machine.ask("POST", "/v1/source", {**asked, "without": bad}).status == 422
