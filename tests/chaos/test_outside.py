"""Signals and damage, done to a dummy rank and to what a real run has stored."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from steadytrain import journal, slots
from steadytrain.chaos.outside import Outside, carriers, newest_checkpoint
from steadytrain.chaos.plan import Planned
from steadytrain.chaos.strikes import FOLDER, Strikes
from steadytrain.errors import CheckpointError
from steadytrain.events import CheckpointFailed
from steadytrain.progress import Beat
from steadytrain.train.manifest import inspect, read_manifest
from tests import rig


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("finished") / "run"
    rig.train(home, steps=20)
    return home


@pytest.fixture
def home(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def trial(tmp_path):
    return tmp_path / "trial"


@pytest.fixture
def rank(trial):
    """A process of the trial that does nothing."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, FOLDER: str(trial)},
    )
    yield process
    process.kill()
    process.wait()


def planned(kind, **changes):
    usual = {
        "index": 0, "kind": kind, "step": 5, "phase": None, "rank": 0, "seconds": None,
        "times": 1, "delay": 0.0, "seed": 1,
    }  # fmt: skip
    return Planned(**(usual | changes))


def beats(process, step):
    return {0: Beat(pid=process.pid, generation=0, step=step, phase="data", clock=0.0, beats=1)}


def outside(home, trial, *faults):
    return Outside(home=home, trial=trial, faults=faults)


def test_it_falls_at_its_step_and_is_on_record_with_the_pid(home, trial, rank):
    one = outside(home, trial, planned("sigterm"))
    one.look(beats(rank, 4))
    assert Strikes(trial).read() == ()
    one.look(beats(rank, 6))
    one.look(beats(rank, 7))
    assert rank.wait(10) == -signal.SIGTERM
    assert [(strike.step, strike.pid) for strike in Strikes(trial).read()] == [(6, rank.pid)]


@pytest.mark.parametrize(
    "kind", ["flip-payload", "flip-manifest", "truncate", "delete-shard", "leftovers"]
)
@pytest.mark.parametrize("seed", range(5))
def test_what_was_damaged_does_not_verify_and_the_rank_is_dead(home, trial, rank, kind, seed):
    sound = newest_checkpoint(home)
    outside(home, trial, planned(kind, seed=seed)).look(beats(rank, 6))
    assert rank.wait(10) == -signal.SIGKILL
    newest = max(home.glob("checkpoints/a????-s????????"))
    assert (newest == sound) == (kind != "leftovers")
    with pytest.raises(CheckpointError):
        inspect(newest, read_manifest(newest)["files"])


def test_a_flipped_state_in_shared_memory_breaks_its_seal(home, trial, rank, tmp_path, monkeypatch):
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setenv("STEADYTRAIN_SHM", str(shared))
    folder = slots.Folder(slots.folder_of(home), home=home, rank=0, world=1, fingerprint="x")
    made = []
    for step in (7, 8):
        slot = slots.Slot.create(folder.new_path(), header_bytes=200, payload_bytes=4096)
        slot.seal(b'{"attempt": 1, "step": %d, "draw": 0}' % step)
        made.append(slot)
    outside(home, trial, planned("flip-slot")).look(beats(rank, 6))
    made[0].inspect()
    with pytest.raises(CheckpointError, match="its seal does not match"):
        made[1].inspect()


def test_what_is_not_there_is_waited_for(home, trial, rank):
    shutil.rmtree(home / "checkpoints")
    outside(home, trial, planned("flip-payload"), planned("kill-writer", index=1)).look(
        beats(rank, 6)
    )
    assert Strikes(trial).read() == ()
    assert rank.poll() is None


def test_a_pause_ends_and_an_early_end_undoes_it(home, trial, rank):
    for seconds in (0.2, 60.0):
        one = outside(home, trial / str(seconds), planned("pause-supervisor", seconds=seconds))
        one.supervisor = rank.pid
        one.look(beats(rank, 6))
        assert _becomes(rank, psutil.STATUS_STOPPED)
        if seconds < 1:
            time.sleep(seconds)
            one.look(beats(rank, 6))
        else:
            one.close()
        assert _becomes(rank, psutil.STATUS_SLEEPING)


def _becomes(process, status):
    end = time.monotonic() + 10
    while psutil.Process(process.pid).status() != status and time.monotonic() < end:
        time.sleep(0.01)
    return psutil.Process(process.pid).status() == status


def test_a_disk_that_is_gone_is_back_once_the_run_has_told_of_it(home, trial, rank):
    one = outside(home, trial, planned("disk-gone"))
    one.look(beats(rank, 6))
    assert (home / "checkpoints").is_file()
    one.look(beats(rank, 7))
    assert (home / "checkpoints").is_file(), "nobody has told of it yet"
    with journal.Journal(home, "rank0") as book:
        book.append(CheckpointFailed(attempt=1, step=7, reason="Not a directory"))
    one.look(beats(rank, 8))
    assert newest_checkpoint(home) is not None


def test_a_full_disk_lets_no_file_of_a_rank_grow_past_half_a_checkpoint(home, trial, rank):
    limits = psutil.Process(rank.pid)
    before = limits.rlimit(psutil.RLIMIT_FSIZE)
    one = outside(home, trial, planned("disk-full"))
    one.look(beats(rank, 6))
    largest = max(path.stat().st_size for path in newest_checkpoint(home).iterdir())
    assert limits.rlimit(psutil.RLIMIT_FSIZE)[0] == largest // 2
    one.close()
    assert limits.rlimit(psutil.RLIMIT_FSIZE) == before


def test_a_trial_knows_its_processes_by_their_mark(trial, rank, tmp_path):
    assert [one.pid for one in carriers(trial)] == [rank.pid]
    assert carriers(tmp_path) == []


def test_everything_of_a_trial_is_killed_and_nothing_else(home, trial, rank):
    outside(home, trial, planned("kill-all")).look(beats(rank, 6))
    assert rank.wait(10) == -signal.SIGKILL
