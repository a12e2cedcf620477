"""A planned fault falls once, at its step, in its phase, in its rank, and nowhere else."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steadytrain.chaos import inside, strikes
from steadytrain.chaos.kinds import SLOW_UPDATES
from steadytrain.chaos.plan import Planned
from steadytrain.chaos.strikes import FOLDER, Strikes

ROOT = Path(__file__).parents[2]


def planned(kind="stall", **changes):
    usual = {
        "index": 0, "kind": kind, "step": 5, "phase": "forward", "rank": 0, "seconds": 0.01,
        "times": 1, "delay": 0.0, "seed": 1,
    }  # fmt: skip
    return Planned(**(usual | changes))


def striker(trial, *faults, rank=0):
    strikes.save(faults, trial)
    return inside.Striker(trial, rank=rank)


def say(one, words):
    for phase, step in words:
        one.look(phase, step)


def fell(trial):
    return [strike.step for strike in Strikes(trial).read()]


def test_it_falls_at_the_first_such_word_at_or_after_its_step(tmp_path):
    one = striker(tmp_path, planned())
    say(one, [("data", 4), ("forward", 4), ("step", None), ("snapshot", 5), ("data", 5)])
    assert fell(tmp_path) == []
    say(one, [("forward", None), ("forward", 6)])
    assert fell(tmp_path) == [5]


def test_another_rank_is_left_alone(tmp_path):
    say(striker(tmp_path, planned(rank=1)), [("forward", 9)])
    assert fell(tmp_path) == []


def test_a_later_life_is_struck_as_often_as_planned(tmp_path):
    for _ in range(4):
        say(striker(tmp_path, planned(times=2)), [("forward", 5), ("forward", 6)])
    assert fell(tmp_path) == [5, 5]


def test_what_comes_back_in_every_life_has_no_end(tmp_path):
    for _ in range(4):
        with pytest.raises(inside.PlannedError, match="crash-loop"):
            say(striker(tmp_path, planned("crash-loop", times=None)), [("forward", 5)])
    assert len(fell(tmp_path)) == 4


def test_a_loop_without_that_word_is_struck_at_the_next(tmp_path):
    one = striker(tmp_path, planned())
    say(one, [("step", 5), ("step", 6)])
    assert fell(tmp_path) == [6]


def test_a_slow_rank_is_slow_for_some_updates_and_no_longer(tmp_path):
    one = striker(tmp_path, planned("slow-rank", seconds=0.02))
    began = time.monotonic()
    say(one, [("forward", step) for step in range(5, 5 + SLOW_UPDATES + 20)])
    assert time.monotonic() - began >= 0.02 * (SLOW_UPDATES - 1)
    assert fell(tmp_path) == [5]


SCRIPT = """
import json, os, sys
from pathlib import Path
from steadytrain.progress import beat

class Thing:
    pass

beat("forward", 9)
Path(sys.argv[1]).write_text(json.dumps({
    "argv": sys.argv[1:], "name": __name__, "file": os.path.basename(__file__),
    "path": sys.path[0], "main": hasattr(sys.modules["__main__"], "Thing"),
    "module": Thing.__module__,
}))
"""


def test_the_script_is_what_it_would_be_by_itself(tmp_path):
    script, told = tmp_path / "train.py", [tmp_path / "a.json", tmp_path / "b.json"]
    script.write_text(SCRIPT)
    strikes.save((planned(),), tmp_path / "trial")
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        FOLDER: str(tmp_path / "trial"),
        "STEADYTRAIN_HOME": str(tmp_path / "home"),
    }
    for before, out in zip([[], ["-m", "steadytrain.chaos.inside"]], told, strict=True):
        command = [sys.executable, *before, str(script), str(out), "--lr", "1"]
        subprocess.run(command, env=env, check=True, cwd=tmp_path)
    plain, armed = (json.loads(one.read_text()) for one in told)
    assert {**armed, "argv": armed["argv"][1:]} == {**plain, "argv": plain["argv"][1:]}
    assert fell(tmp_path / "trial") == [9]
