"""The machine is wanted for something else: save, leave with 75, and go on as if nothing had been."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from steadytrain import journal
from steadytrain.events import CheckpointSaved
from steadytrain.progress import Beacon, ask_to_leave, prepare_to_ask
from tests import rig
from tests.launch.test_hangs import ROOT

STEPS = 45


def _start(tmp_path, harm="pace"):
    home, script = tmp_path / "run", ROOT / "tests" / "launch" / "harms.py"
    words = [str(home), str(tmp_path), harm, "1", "25", str(STEPS)]
    return subprocess.Popen(
        [sys.executable, "-m", "steadytrain", "run", "--home", str(home), "--nproc", "2", "--", str(script), *words],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _wait_for_steps(home, number):
    end = time.monotonic() + 120
    while len(rig.losses(home)) < number and time.monotonic() < end:
        time.sleep(0.05)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    assert _start(folder, harm="nothing").wait(timeout=120) == 0
    return json.loads((folder / "0.json").read_text()), rig.losses(folder / "run")


def test_no_rank_leaves_before_it_is_asked_and_each_does_after_the_same_step(tmp_path):
    prepare_to_ask(tmp_path)
    beacons = [Beacon(tmp_path, rank, 0) for rank in range(2)]
    assert not any(one.is_to_leave(10**9) for one in beacons)
    ask_to_leave(tmp_path, 7)
    assert [[one.is_to_leave(step) for step in (6, 7, 8)] for one in beacons] == [
        [False, True, True]
    ] * 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_a_preempted_run_saves_asks_to_be_requeued_and_ends_as_if_unbroken(
    tmp_path, signum, unbroken
):
    home = tmp_path / "run"
    process = _start(tmp_path)
    _wait_for_steps(home, 23)
    process.send_signal(signum)
    assert process.wait(timeout=60) == 75
    saved = max(one.step for one in journal.read(home) if isinstance(one, CheckpointSaved))
    newest = max(rig.losses(home))
    assert saved >= newest  # not one step is made again
    assert saved % 10  # at a step of its own
    assert _start(tmp_path).wait(timeout=120) == 0
    ends = [json.loads((tmp_path / f"{one}.json").read_text()) for one in range(2)]
    assert ends[0] == ends[1]
    assert (ends[0], rig.losses(home)) == unbroken


def test_a_script_that_does_not_listen_gets_the_signal_and_nothing_is_left(tmp_path):
    script = tmp_path / "deaf.py"
    script.write_text("import time\nprint('begun', flush=True)\ntime.sleep(600)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "steadytrain", "run", "--home", str(tmp_path / "run"), "--", str(script)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert process.wait(timeout=30) == 75
    assert time.monotonic() - began < 10
    process.stdout.close()
    ranks = [pid for one in journal.read(tmp_path / "run", "supervisor") for pid in one.pids]
    assert ranks
    assert not any(map(psutil.pid_exists, ranks))


def test_a_killed_supervisor_takes_ranks_their_children_and_their_parent_with_it(tmp_path):
    script = tmp_path / "family.py"
    script.write_text(
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print(os.getpid(), child.pid, flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "steadytrain", "run", "--home", str(tmp_path / "run"), "--", str(script)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        stdout=subprocess.PIPE,
    )  # fmt: skip
    pids = [int(one) for one in process.stdout.readline().split()]
    others = [one.pid for one in psutil.Process(process.pid).children(recursive=True)]
    assert len(others) >= 4  # guard, parent, rank, its child
    process.kill()
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 10
    while any(map(psutil.pid_exists, pids + others)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, pids + others))
