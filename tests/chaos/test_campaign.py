"""Real campaigns: a run that is broken as planned, beside the one that was left alone."""

import json
from pathlib import Path

import pytest

from steadytrain import cli, slots
from steadytrain.chaos import trial
from steadytrain.chaos.outside import carriers
from steadytrain.chaos.trial import Observed

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "tests" / "chaos" / "tiny.py")

MIXED = """
[[fault]]
kind = "sigkill"
step = 8
trial = "mixed"

[[fault]]
kind = "exception"
step = 12
phase = "backward"
trial = "mixed"

[[fault]]
kind = "gil"
step = 16
trial = "mixed"

[[fault]]
kind = "flip-payload"
step = 23
trial = "mixed"

[[fault]]
kind = "crash-loop"
step = [5, 9]

[[fault]]
kind = "nan-gradient"
step = 20
"""

BARE = """
import sys, time
from steadytrain.progress import beat

for step in range(60):
    beat("step", step)
    time.sleep(0.02)
beat("finished", 60)
"""


def chaos(capsys, *arguments):
    """Exit status, the JSON object if there is one, and what was said."""
    status = cli.main(["chaos", *map(str, arguments)])
    shown = capsys.readouterr()
    return status, json.loads(shown.out) if shown.out.startswith("{") else None, shown.err


@pytest.fixture(autouse=True)
def path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_run_that_is_broken_four_times_ends_as_if_nothing_had_happened(capsys, tmp_path, write):
    home = tmp_path / "chaos"
    status, told, said = chaos(
        capsys, write("mixed.toml", MIXED), "--home", home, "--hang-after", 3, "--json",
        "--", TINY, 40, 0.02,
    )  # fmt: skip
    mixed, loop, numbers = told["trials"]
    assert [one["complaints"] for one in told["trials"]] == [[], [], []], said
    assert (status, told["ok"]) == (0, True)
    assert mixed["is_equal"] is True
    assert mixed["restarts"] == 4
    assert len(mixed["recover_seconds"]) == 4
    assert mixed["recover_seconds"][2] >= 3.0, "a hang is found after its limit"
    assert (mixed["wrong_kills"], mixed["orphans"], mixed["leaks"]) == (0, 0, False)
    assert mixed["steps_lost"] >= 23 - 20, "the flipped checkpoint is not gone back to"
    assert loop["statuses"] == [93]
    assert (numbers["steps"], numbers["restarts"]) == ([20], 0)
    assert numbers["steps_lost"] >= 1, "the update was held back"
    for name in ("mixed.0", "crash-loop.0", "undisturbed"):
        assert carriers(home / name) == []
    assert not slots.folder_of(home / "mixed.0" / "run").exists()
    assert not (home / "mixed.0" / "run" / "checkpoints").exists(), "survived, so thinned out"


def test_a_script_with_words_to_the_board_alone_can_be_tried_too(capsys, tmp_path, write):
    status, told, said = chaos(
        capsys, "--faults", "sigterm,exit", "--home", tmp_path / "chaos", "--json",
        "--", write("bare.py", BARE),
    )  # fmt: skip
    assert status == 0, said
    assert [one["is_equal"] for one in told["trials"]] == [None, None]
    assert [one["restarts"] for one in told["trials"]] == [1, 1]
    assert "no losses can be compared" in said


@pytest.mark.slow
def test_a_run_that_does_not_survive_is_told_so(capsys, tmp_path, write):
    """Its data is another in each life, so it is not even the same when nothing is done to it."""
    script = write("forgetful.py", "import os\nos.environ['STEADYTRAIN_SHM'] = 'off'\n" + FORGETFUL)
    status, told, said = chaos(
        capsys, "--faults", "sigkill", "--home", tmp_path / "chaos", "--json", "--", script
    )
    (one,) = told["trials"]
    assert status == 1
    assert one["is_equal"] is False
    assert "the run is another from step" in one["complaints"][0]
    assert told["reproducible"] is False
    assert "two runs without faults differ" in said


FORGETFUL = """
from tests import rig

class Chance(rig.Words):
    def block(self, draw):
        return super().block(draw + 1000 * os.getpid())

rig.Words = Chance
model, _, guarded = rig.session(None, steps=40, panel=None, panel_every=None)
with guarded as run:
    for batch in run:
        run.backward(model(batch.tokens_BT), batch)
        run.step()
"""


def alone(monkeypatch, **changes):
    """The run without faults, as if it had been seen."""

    def run(settings, folder, faults):
        folder.mkdir(parents=True)
        (folder / "output.log").write_text("RuntimeError: the tokenizer is gone")
        usual = {
            "statuses": (0,), "lives": (), "strikes": (), "orphans": (), "leaked": None,
            "is_late": False, "seconds": 1.0,
        }  # fmt: skip
        return Observed(home=folder / "run", **(usual | changes))

    monkeypatch.setattr(trial, "run", run)


def test_a_run_that_fails_by_itself_is_not_blamed_on_a_fault(capsys, monkeypatch, tmp_path):
    alone(monkeypatch, statuses=(93,))
    status, _, said = chaos(capsys, "quick", "--home", tmp_path / "chaos", "--", TINY)
    assert status == 2
    assert "ends with status 93 though nothing was done to it" in said
    assert "the tokenizer is gone" in said


def test_a_run_that_tells_no_step_says_how_to_tell_one(capsys, monkeypatch, tmp_path):
    alone(monkeypatch)
    status, _, said = chaos(
        capsys, "--faults", "sigkill", "--home", tmp_path / "chaos", "--", "train.py"
    )
    assert status == 2
    assert "call steadytrain.progress.beat" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--lab",), "a plan says what to break"),
        (("quick", "--faults", "gil", "--lab"), "the plan quick both say what to break"),
        (("quick",), "it must be said what to break"),
        (("quick", "--lab", "--", "train.py"), "it must be said what to break"),
        (("quik", "--lab"), "the plan quik cannot be read"),
        (("--faults", "gremlin", "--lab"), "'gremlin' is no kind of fault"),
        (("quick", "--lab", "--nproc", "0"), "--nproc 0 leaves nobody to train"),
        (("quick", "--lab", "--repeats", "0"), "repeats = 0 runs no trial"),
        (("--faults", "gil", "--", "bash", "train.sh"), "bash is not Python"),
    ],
)
def test_a_command_that_makes_no_sense_says_what_to_write(
    capsys, monkeypatch, tmp_path, arguments, words
):
    monkeypatch.chdir(tmp_path)
    status, _, said = chaos(capsys, *arguments)
    assert status == 2
    assert words in said


def test_a_home_that_holds_something_is_not_gone_on_with(capsys, tmp_path, write):
    write("precious", "")
    status, _, said = chaos(capsys, "quick", "--lab", "--home", tmp_path)
    assert status == 2
    assert "Choose a folder that is not there yet" in said


def test_the_list_holds_every_kind_and_both_checklists(capsys):
    assert cli.main(["chaos", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("kill-supervisor", "LOCK_GIL", "checkpoint_truncation"))


@pytest.mark.slow
def test_twenty_seeds_of_every_kind_but_the_numbers_are_survived(capsys, tmp_path):
    status, told, said = chaos(
        capsys, "soak", "--repeats", 20, "--nproc", 2, "--home", tmp_path / "chaos", "--json",
        "--", TINY, 120, 0.01,
    )  # fmt: skip
    assert status == 0, said
    assert len(told["trials"]) == 20 * 6
