"""Makes docs/images/board.svg anew: the demo's board, printed by Chromium and turned into SVG, so that it stays text.

As root, in the environment of the tests (`./dev setup test`, which brings playwright and Debian's chromium), and with
Debian's poppler-utils: `.venv/bin/python docs/screenshot.py`. It runs `crowbar demo`, looks at it, and
ends it.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

IMAGE = Path(__file__).parent / "images" / "board.svg"
READY = re.compile(r"Look around at (?P<url>http://\S+) \(user admin, password (?P<password>\S+)\)")
SECONDS = 180.0
WIDTH, HEIGHT = 1000, 505
"""Of what is shown: the upper part of the page, down to the end of the table."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="crowbar-screenshot-") as directory:
        said = Path(directory, "demo.err")
        with said.open("wb") as errors:
            demo = subprocess.Popen(
                [Path(sys.executable).with_name("crowbar"), "demo"], stdout=subprocess.DEVNULL, stderr=errors
            )
        try:
            url, password = _wait(demo, said)
            pdf = Path(directory, "board.pdf")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
                _print(browser, url, password, pdf)
                browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait(60)
        drawn = Path(directory, "board.svg")
        subprocess.run(["pdftocairo", "-svg", "-f", "1", "-l", "1", pdf, drawn], check=True)
        IMAGE.write_text(_shorter(drawn.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{IMAGE}: {IMAGE.stat().st_size} bytes")
    return 0


def _wait(demo: subprocess.Popen[bytes], said: Path) -> tuple[str, str]:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and demo.poll() is None:
        if found := READY.search(said.read_text(errors="replace")):
            return found["url"], found["password"]
        time.sleep(0.2)
    raise SystemExit(f"The demo did not come so far:\n{said.read_text(errors='replace')}")


def _print(browser: Browser, url: str, password: str, pdf: Path) -> None:
    page = browser.new_page(base_url=url, viewport={"width": WIDTH, "height": 600})
    page.goto("/login")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Dashboard").wait_for()
    page.goto("/deployments/demo")
    page.locator("main table").first.wait_for()
    page.emulate_media(media="screen", color_scheme="light")
    page.pdf(path=pdf, width=f"{WIDTH}px", height=f"{HEIGHT}px", print_background=True)


def _shorter(svg: str) -> str:
    """The same picture to a tenth of a point, with neighbours of one colour in one group."""
    svg = re.sub(r"transform=\"[^\"]*\"|-?\d+\.\d{2,}", _rounded, svg)
    old = ""
    while svg != old:
        old, svg = svg, re.sub(r"(<g style=\"[^\"]*\">)((?:\s*<use [^>]*/>)+)\s*</g>\s*\1", r"\1\2", svg)
    return svg


def _rounded(found: re.Match[str]) -> str:
    """A number with one decimal; transformations as they are, for they multiply."""
    return found[0] if found[0].startswith("transform") else f"{round(float(found[0]), 1):g}"


if __name__ == "__main__":
    sys.exit(main())
