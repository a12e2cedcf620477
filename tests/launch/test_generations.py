"""A hundred deaths in a row: every start finds its peers, and the end is that of a run unharmed."""

import json
import sys
from pathlib import Path

import psutil
import pytest

from steadytrain import journal
from steadytrain.events import ProcessExited, Restart, WorkersStarted
from steadytrain.launch.supervisor import Supervisor
from tests.launch.test_hangs import ROOT


def _supervise(tmp_path, *, kills, steps):
    home = tmp_path / "run"
    script = ROOT / "tests" / "launch" / "harms.py"
    words = [str(home), str(tmp_path), "often", "0", str(kills), str(steps)]
    status = Supervisor(
        [sys.executable, str(script), *words],
        home=home,
        nproc=2,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    ).run()
    ends = [json.loads((tmp_path / f"{one}.json").read_text()) for one in range(2)]
    return status, ends, list(journal.read(home, "supervisor"))


def _everything():
    """Processes of ours, shared memory, and listening ports."""
    me = psutil.Process()
    return (
        sorted(one.pid for one in me.children(recursive=True)),
        sorted(one.name for one in Path("/dev/shm").iterdir()),
        sum(one.status == psutil.CONN_LISTEN for one in me.net_connections()),
    )


def _dies_and_goes_on(tmp_path, *, kills):
    before = _everything()
    for name in ("harmed", "unharmed"):
        (tmp_path / name).mkdir()
    status, ends, told = _supervise(tmp_path / "harmed", kills=kills, steps=2 * kills + 10)
    assert status == 0
    assert _everything() == before
    assert sum(isinstance(one, ProcessExited) for one in told) == kills
    assert all(one.wait_seconds == 0.0 for one in told if isinstance(one, Restart))
    assert sum(isinstance(one, WorkersStarted) for one in told) == kills + 1
    _, unharmed, _ = _supervise(tmp_path / "unharmed", kills=0, steps=2 * kills + 10)
    assert ends == unharmed


def test_three_generations_end_as_one_and_leave_nothing_behind(tmp_path):
    _dies_and_goes_on(tmp_path, kills=3)


@pytest.mark.slow
def test_a_hundred_generations_end_as_one_and_leave_nothing_behind(tmp_path):
    _dies_and_goes_on(tmp_path, kills=100)
