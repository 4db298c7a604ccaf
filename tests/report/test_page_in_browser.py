"""The page in a real browser: sorting, its width on a phone, and what its policy forbids.

Chromium runs copies of the page with a script appended (and then without the page's policy, which
would forbid that); what the script finds ends up in the dumped document.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from report_cases import HOSTILE

from crisp_loop.report.run import Report

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"),
]


def dumped(text: str, folder: Path) -> str:
    """The document after its scripts ran."""
    assert BROWSER is not None
    file = folder / "copy.html"
    file.write_text(text, encoding="utf-8")
    options = ("--headless", "--disable-gpu", "--dump-dom", f"--user-data-dir={folder / 'profile'}")
    # Root, as in containers, has no sandbox to run in.
    sandbox = ("--no-sandbox",) if hasattr(os, "getuid") and os.getuid() == 0 else ()
    done = subprocess.run(
        [BROWSER, *options, *sandbox, "--window-size=1280,900", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def found_by(script: str, page: str, folder: Path) -> Any:
    """What ``script`` returns on a copy of the page."""
    free, removed = re.subn(r"<meta http-equiv[^>]*>", "", page)
    assert removed == 1
    tail = f"<script>document.body.dataset.found = JSON.stringify((() => {{{script}}})())</script>"
    document = dumped(free + tail, folder)
    found = re.search(r'data-found="([^"]*)"', document)
    assert found, document[-2000:]
    return json.loads(html.unescape(found[1]))


def test_tables_sort(page: str, reported: Report, tmp_path: Path) -> None:
    script = """
      const table = [...document.querySelectorAll("table.sortable")].pop();
      const values = (column) => [...table.tBodies[0].rows].map(r => r.cells[column].dataset.value);
      const heads = [...table.tHead.rows[0].cells];
      const sorted = (column) => {
        heads[column].querySelector("button").click();
        return [heads[column].getAttribute("aria-sort"), values(column), values(0)];
      };
      const at = (title) => heads.findIndex(head => head.textContent === title);
      return [values(0), sorted(at("cycles")), sorted(at("cycles")), sorted(at("layer")),
              sorted(at("block")), heads.filter(head => head.ariaSort).length];
    """
    before, down, up, names, blocks, marked = found_by(script, page, tmp_path)
    rows = reported.results[reported.results["accelerator"] == "crisp-stc"]
    cycles = dict(zip(rows["layer"], rows["cycles"], strict=True))
    assert before == list(cycles)
    assert down[:2] == ["descending", [str(each) for each in sorted(cycles.values(), reverse=True)]]
    assert up[:2] == ["ascending", [str(each) for each in sorted(cycles.values())]]
    assert [str(cycles[name]) for name in up[2]] == up[1], "cells moved without their rows"
    # Numbers inside names count as numbers.
    assert names[0] == "ascending"
    assert names[1].index("conv9") < names[1].index("conv10")
    assert sorted(names[1]) == sorted(cycles)
    # What is empty comes last.
    assert blocks[1] == ["16"] * (len(cycles) - 1) + [""]
    assert marked == 1


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_itself_never_scrolls_sideways(page: str, tmp_path: Path, width: int) -> None:
    free = re.sub(r"<meta http-equiv[^>]*>", "", page)
    frame = html.escape(free, quote=True)
    script = f"""
      const frame = document.createElement("iframe");
      frame.width = {width}; frame.height = 900; frame.srcdoc = document.body.dataset.page;
      document.body.append(frame);
      frame.onload = () => {{
        const inside = frame.contentDocument;
        inside.querySelectorAll("details").forEach(each => each.open = true);
        const boxes = [...inside.querySelectorAll(".scroll")];
        document.body.dataset.found = JSON.stringify([
          frame.contentWindow.innerWidth, inside.documentElement.scrollWidth,
          boxes.filter(box => box.scrollWidth > box.clientWidth).length,
          inside.querySelectorAll("button").length]);
      }};
    """
    wrapper = f'<!doctype html><body data-page="{frame}"><script>{script}</script></body>'
    found = re.search(r'data-found="\[([\d,]*)\]"', dumped(wrapper, tmp_path))
    assert found
    inner, wide, scrolling, buttons = map(int, found[1].split(","))
    assert inner == width
    assert wide <= width
    assert buttons > 50
    assert scrolling >= (4 if width < 500 else 1), "tables should scroll in their own boxes"


def test_only_the_pages_own_script_runs(page: str, tmp_path: Path) -> None:
    """Appended behind the policy's back, a script stays silent while the page's own works."""
    tail = "<script>document.body.dataset.owned = 'yes'</script><img src=x onerror='alert(1)'>"
    document = dumped(page + tail, tmp_path)
    assert 'data-owned="yes"' not in document
    assert '<th scope="col" class="number"><button type="button">cycles</button></th>' in document
    title = re.search(r"<title>(.*?)</title>", document)
    assert title
    assert "owned" not in title[1]
    assert html.escape(HOSTILE, quote=False) in document
