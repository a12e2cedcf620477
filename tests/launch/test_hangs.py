"""Real ranks that do not move, each in its own way; and slow ones that must be left alone."""

import json
import sys
from pathlib import Path

import pytest

from steadytrain import journal
from steadytrain.events import ProcessExited, Straggler, WorkersFinished
from steadytrain.launch.supervisor import Supervisor

ROOT = Path(__file__).parents[2]
FLOOR_SECONDS = 2.5


def supervise(
    tmp_path, harm, *, script="harms.py", rank=1, step=25, steps=40, nproc=2,
    floor_seconds=FLOOR_SECONDS,
):  # fmt: skip
    """Returns the final parameters of each rank, and what the supervisor wrote."""
    home, path = tmp_path / "run", ROOT / "tests" / "launch" / script
    words = [str(home), str(tmp_path), harm, str(rank), str(step), str(steps)]
    status = Supervisor(
        [sys.executable, str(path), *words],
        home=home,
        nproc=nproc,
        floor_seconds=floor_seconds,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    ).run()
    assert status == 0
    told = list(journal.read(home, "supervisor"))
    assert isinstance(told[-1], WorkersFinished)
    return [json.loads((tmp_path / f"{one}.json").read_text()) for one in range(nproc)], told


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    ends, _ = supervise(tmp_path_factory.mktemp("unharmed"), "nothing")
    return ends


@pytest.mark.parametrize(
    ("harm", "phase", "where"),
    [
        ("stop", "forward", "stopped by a signal"),
        ("sleep", "forward", "in sleep, harms.py:"),
        ("regex", "forward", "in regex, harms.py:"),
        ("lock", "forward", "in lock, harms.py:"),
        ("loader", "data", "in block, harms.py:"),
    ],
)
def test_a_hang_is_found_in_time_its_rank_named_and_its_stack_kept(
    tmp_path, unharmed, harm, phase, where
):
    ends, told = supervise(tmp_path, harm)
    assert ends == unharmed
    (gone,) = [one for one in told if isinstance(one, ProcessExited)]
    assert (gone.hung, gone.rank, gone.phase, gone.step) == (True, 1, phase, 25)
    assert gone.error.startswith(where)
    assert FLOOR_SECONDS <= gone.silent_seconds < FLOOR_SECONDS + 0.5
    stacks = tmp_path / "run" / "stacks"
    assert all("harms.py" in (stacks / f"rank{one}.0.txt").read_text() for one in range(2))


@pytest.mark.parametrize("harm", ["first", "evaluation", "checkpoint"])
def test_a_slow_first_step_evaluation_or_checkpoint_is_left_alone(tmp_path, unharmed, harm):
    ends, told = supervise(tmp_path, harm)
    assert ends == unharmed
    assert not any(isinstance(one, ProcessExited) for one in told)


def test_a_rank_three_times_as_slow_is_named_and_left_alone(tmp_path, unharmed):
    _, told = supervise(tmp_path, "thrice", steps=60)
    assert not any(isinstance(one, ProcessExited) for one in told)
    (slow,) = [one for one in told if isinstance(one, Straggler)]
    assert slow.rank == 1
    assert slow.seconds > 2 * slow.others_seconds
