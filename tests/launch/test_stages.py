"""A pipeline-parallel script of one's own, under the supervisor: found, named, started again."""

import pytest

from steadytrain.events import ProcessExited
from tests.launch.test_hangs import supervise


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory):
    ends, told = supervise(tmp_path_factory.mktemp("unharmed"), "nothing", script="stages.py")
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
    ends, told = supervise(tmp_path, harm, script="stages.py")
    assert ends == unharmed
    (gone,) = [one for one in told if isinstance(one, ProcessExited)]
    assert (gone.rank, gone.step, gone.hung) == (1, 25, hung)
    assert words is None or gone.error.startswith(words)
