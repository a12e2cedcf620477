"""A real training run, watched in a real browser while it trains."""

import os
import subprocess
import sys
import time

import pytest

from steadytrain import journal
from steadytrain.events import RunEnded, StepRecord
from tests.board.rig import TOKEN, Served

TRAIN = [
    sys.executable, "-m", "steadytrain.lab.train", "--steps", "25", "--batch-size", "8", "--width", "32",
    "--layers", "1", "--heads", "1", "--seed", "0",
]  # fmt: skip


@pytest.mark.slow
def test_each_step_is_on_the_page_within_a_second_or_two_of_its_line(browser, tmp_path):
    home = tmp_path / "runs" / "real"
    home.mkdir(parents=True)
    with Served(tmp_path / "runs") as one:
        page = browser.new_page()
        page.goto(f"{one.url}/#token={TOKEN}")
        page.wait_for_selector("main .runs")
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [*TRAIN, "--home", str(home)], env=env, stdout=subprocess.DEVNULL
        )
        try:
            seen = {}
            end = time.monotonic() + 240
            is_open = False
            while process.poll() is None or "25" not in seen:
                assert time.monotonic() < end, f"the page never showed the last step: {seen}"
                if not is_open and page.locator("tbody th a").count():
                    page.evaluate("location.hash = '#/run/real'")
                    is_open = True
                shown = page.evaluate("document.querySelector('.run .progress b')?.textContent")
                if shown is not None:
                    seen.setdefault(shown, time.time())
                page.wait_for_timeout(30)
            page.wait_for_selector(".state.plain", timeout=10_000)
            assert page.locator(".u-over").count() >= 5
        finally:
            process.kill()
            process.wait()
        page.close()
    lines = list(journal.lines(home))
    assert any(isinstance(line.event, RunEnded) for line in lines)
    written = {
        str(line.event.step): line.at for line in lines if isinstance(line.event, StepRecord)
    }
    lags = sorted(at - written[step] for step, at in seen.items() if step in written)
    assert len(lags) >= 3
    # The middle one: this test shares the machine with the run that it watches.
    assert lags[len(lags) // 2] < 2.0, lags
