"""The page of `analyze --html` in a real browser: it draws, and the one-step spike is in it."""

import re
import shutil
import subprocess

import pytest

from steadytrain import cli

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


@pytest.fixture
def page(tmp_path):
    log = tmp_path / "run.csv"
    rows = [f"{step},{2.0 + (step * 7919 % 101) / 5000}" for step in range(1, 30_001)]
    rows[20_000] = "20001,9.5"
    log.write_text("step,loss\n" + "\n".join(rows) + "\n")
    assert cli.main(["analyze", str(log), "--html", str(tmp_path / "page.html")]) == 1
    return tmp_path / "page.html"


def test_one_file_holds_all_and_asks_no_network(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=[\"']?https?://", text)
    assert "9.5" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_draws_the_curves(page, tmp_path):
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000",
        "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
        page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count("<canvas") >= 1
    assert "Uncaught" not in done.stderr
