"""A pipeline-parallel script of one's own, under the supervisor: found, named, started again."""

import json
import sys

import pytest

from steadytrain import journal
from steadytrain.events import ProcessExited, WorkersFinished
from steadytrain.launch.supervisor import Supervisor
from tests.launch.test_hangs import FLOOR_SECONDS, ROOT


def supervise(tmp_path, harm):
    """Final parameters of each stage, and what the supervisor wrote."""
    home, script = tmp_path / "run", ROOT / "tests" / "launch" / "stages.py"
    status = Supervisor(
        [sys.executable, str(script), str(home), str(tmp_path), harm, "25", "40"],
        home=home,
        nproc=2,
        floor_seconds=FLOOR_SECONDS,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    ).run()
    assert status == 0
    told = list(journal.read(home, "supervisor"))
    assert isinstance(told[-1], WorkersFinished)
    return [json.loads((tmp_path / f"{one}.json").read_text()) for one in range(2)], told


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    ends, told = supervise(tmp_path_factory.mktemp("unharmed"), "nothing")
    assert not any(isinstance(one, ProcessExited) for one in told)
    return ends


@pytest.mark.parametrize(
    ("harm", "hung", "words"),
    [
        ("kill", False, None),
        ("stop", True, "stopped by a signal"),
        ("sleep", True, "in sleep, harms.py:"),
    ],
)
def test_the_last_stage_is_named_and_the_end_is_that_of_a_run_unharmed(
    tmp_path, unharmed, harm, hung, words
):
    ends, told = supervise(tmp_path, harm)
    assert ends == unharmed
    (gone,) = [one for one in told if isinstance(one, ProcessExited)]
    assert (gone.rank, gone.step, gone.hung) == (1, 25, hung)
    assert words is None or gone.error.startswith(words)
