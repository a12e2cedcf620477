"""A hundred deaths in a row: every start finds its peers, and the end is that of a run unharmed."""

import json
import sys

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
    """Processes, listening ports and open files of ours."""
    me = psutil.Process()
    return (
        sorted(one.pid for one in me.children(recursive=True)),
        sum(one.status == psutil.CONN_LISTEN for one in me.net_connections()),
        me.num_fds(),
    )


def _dies_and_goes_on(tmp_path, *, kills):
    for name in ("harmed", "unharmed"):
        (tmp_path / name).mkdir()
    steps = 2 * kills + 10
    _, unharmed, _ = _supervise(tmp_path / "unharmed", kills=0, steps=steps)
    before = _everything()
    status, ends, told = _supervise(tmp_path / "harmed", kills=kills, steps=steps)
    assert status == 0
    assert ends == unharmed
    assert _everything() == before
    # Each ended by its own kill; a death of something else would take the place of one of them.
    ends = [one for one in told if isinstance(one, ProcessExited)]
    assert [(one.signal, one.step) for one in ends] == [
        ("SIGKILL", 2 * n + 2) for n in range(kills)
    ]
    assert all(one.wait_seconds == 0.0 for one in told if isinstance(one, Restart))
    assert sum(isinstance(one, WorkersStarted) for one in told) == kills + 1


def test_three_generations_end_as_one_and_leave_nothing_behind(tmp_path):
    _dies_and_goes_on(tmp_path, kills=3)


@pytest.mark.slow
def test_a_hundred_generations_end_as_one_and_leave_nothing_behind(tmp_path):
    _dies_and_goes_on(tmp_path, kills=100)
