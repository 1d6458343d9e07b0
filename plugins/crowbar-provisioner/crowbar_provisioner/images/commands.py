"""``crowbar images``: make the images that are written to disks."""

from __future__ import annotations

from pathlib import Path

import click

from crowbar_core import CrowbarError
from crowbar_provisioner.images.build import KERNELS, OS, build

images = click.Group("images", help="Images of operating systems, as they are written to disks.")


@images.command("build")
@click.argument("name", type=click.Choice((OS,)))
@click.option(
    "--to",
    "place",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("/var/lib/crowbar/boot/images"),
    show_default=True,
    help="Where the boot service finds it.",
)
@click.option(
    "--kernel",
    type=click.Choice(sorted(KERNELS)),
    default="full",
    show_default=True,
    help="Which drivers it has: those of virtual machines (cloud), or of real ones as well.",
)
def build_(name: str, place: Path, kernel: str) -> None:
    """Make the image of Debian's packages, and its tarball, on a Debian of that release, as root."""
    try:
        made = build(place.absolute(), kernel=kernel)
    except CrowbarError as error:
        raise click.ClickException(error.detail) from error
    click.echo(str(made))
