"""Stacks as faulthandler writes them: where a rank stands, and which of several is the guilty one."""

import pytest

from steadytrain.launch.silence import Rank
from steadytrain.launch.stacks import Stand, find_guilty, read_frames

COLLECTIVE = """Thread 0x00007f11 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 324 in wait

Current thread 0x00007f10 (most recent call first):
  File "/opt/site-packages/torch/distributed/distributed_c10d.py", line 2810 in all_reduce
  File "/opt/site-packages/torch/distributed/c10d_logger.py", line 81 in wrapper
  File "/home/me/train.py", line 31 in main
"""
BACKWARD = """Current thread 0x00007f10 (most recent call first):
  File "/opt/site-packages/torch/autograd/graph.py", line 865 in _engine_run_backward
  File "/home/me/train.py", line 30 in main
"""
REGEX = """Current thread 0x00007f10 (most recent call first):
  File "/usr/lib/python3.11/re/__init__.py", line 176 in search
  File "/home/me/clean.py", line 9 in scrub
  File "/home/me/train.py", line 28 in main
"""


def _stand(text, **more):
    return Stand(frames=read_frames(text), **more)


@pytest.mark.parametrize("text", [COLLECTIVE, BACKWARD])
def test_a_collective_is_waited_in_even_where_it_is_inside_backward(text):
    assert _stand(text).is_waiting


def test_the_handle_of_a_send_or_a_collective_is_waited_for_by_hand(tmp_path):
    path = tmp_path / "ring.py"
    path.write_text("work = dist.irecv(theirs)\nwork.wait()\nmixed = ours @ theirs\n")
    text = 'Current thread 0x00007f10 (most recent call first):\n  File "{}", line {} in main\n'
    assert _stand(text.format(path, 2)).is_waiting
    assert not _stand(text.format(path, 3)).is_waiting
    assert not _stand(text.format(tmp_path / "gone.py", 2)).is_waiting


def test_the_place_is_named_in_the_users_own_code():
    assert _stand(REGEX).describe() == "in scrub, clean.py:9"
    assert _stand(COLLECTIVE).describe() == "waiting for other ranks in main, train.py:31"
    assert Stand(is_stopped=True).describe() == "stopped by a signal"
    assert Stand().describe() is None


def _ranks(*silent):
    return [Rank(number=number, seconds=seconds) for number, seconds in enumerate(silent)]


def test_who_works_is_guilty_and_who_waits_is_its_victim_though_silent_for_longer():
    ranks = _ranks(9.0, 8.0)
    stands = {0: _stand(COLLECTIVE), 1: _stand(REGEX)}
    assert find_guilty(ranks, stands).number == 1


def test_a_stopped_rank_is_guilty_whatever_its_stack_says():
    ranks = _ranks(9.0, 8.0, 7.0)
    stands = {0: _stand(REGEX), 1: _stand(COLLECTIVE, is_stopped=True), 2: _stand(COLLECTIVE)}
    assert find_guilty(ranks, stands).number == 1


def test_where_all_wait_the_likeliest_stays_the_first():
    ranks = _ranks(9.0, 8.0)
    assert find_guilty(ranks, dict.fromkeys((0, 1), _stand(COLLECTIVE))).number == 0
