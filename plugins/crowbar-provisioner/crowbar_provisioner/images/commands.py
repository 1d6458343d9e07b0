"""``crowbar images``: make the images that are written to disks."""

from __future__ import annotations

from pathlib import Path

import click

from crowbar_core import CrowbarError
from crowbar_provisioner.images.build import FORMATS, KERNELS, OS, build
from crowbar_provisioner.images.compressing import compress

images = click.Group("images", help="Images of operating systems, as they are written to disks.")


_PLACE = click.option(
    "--to",
    "place",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/crowbar/boot/images"),
    show_default=True,
    help="Where the boot service finds it.",
)


@images.command("build")
@click.argument("name", type=click.Choice((OS,)))
@_PLACE
@click.option(
    "--kernel",
    type=click.Choice(sorted(KERNELS)),
    default="full",
    show_default=True,
    help="Which drivers it has: those of virtual machines (cloud), or of real ones as well.",
)
@click.option(
    "--format",
    type=click.Choice(sorted(FORMATS.values())),
    help="raw.zst, which is compressed, is the default with the kernel full; raw with cloud.",
)
def build_(name: str, place: Path, kernel: str, format: str | None) -> None:
    """Make the image of Debian's packages, and its tarball, on a Debian of that release, as root."""
    try:
        made = build(place.absolute(), kernel=kernel, format=format or "")
    except CrowbarError as error:
        raise click.ClickException(error.detail) from error
    click.echo(str(made))


@images.command("compress")
@click.argument("name")
@_PLACE
def compress_(name: str, place: Path) -> None:
    """Compress an image that lies there, piece for piece, so that machines can pass it on to each other. One that is
    compressed otherwise is made anew. Installations that are under way with the former file begin again.
    """
    try:
        made = compress(place.absolute(), name)
    except CrowbarError as error:
        raise click.ClickException(error.detail) from error
    click.echo(str(made))
