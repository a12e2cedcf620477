"""Kill -9 while states lie in shared memory: the next life loses one interval at most, and no bit."""

import json
import multiprocessing
import os
import signal
import struct
from pathlib import Path

import pytest
import torch

from steadytrain import journal
from steadytrain.events import (
    AttemptBegan,
    CheckpointRefused,
    Remedy,
    RemedyDone,
    RestoreVerified,
    StepRecord,
)
from steadytrain.replaying import replay
from steadytrain.slots import HEAD, Slot, folder_of
from steadytrain.train import Session, snapshots
from steadytrain.train.mapped import Mapped
from steadytrain.train.snapshots import Snapshots
from tests import rig
from tests.faults.test_exactness import (
    GARBLED,
    STEPS,
    KillAtCall,
    KillAtEvent,
    _die,
    random_moments,
)

RUN = {
    "steps": STEPS,
    "garbled": GARBLED,
    "snapshot_every": 1,
    "snapshots": 12,
    "checkpoint_every": 30,
}

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.rig"])


def _live(home: Path, out: Path, changes: dict, shared: str, bomb) -> None:
    os.environ["STEADYTRAIN_SHM"] = shared
    if bomb is not None:
        bomb()
    rig.train_and_note(home, out, changes)


def _run(home: Path, bombs, *, shared: str = "", changes=RUN) -> dict:
    """Live, die once by each bomb, and live to the end; returns the digests."""
    out = home.parent / f"{home.name}.json"
    for bomb in [*bombs, None]:
        life = _server.Process(target=_live, args=(home, out, changes, shared, bomb))
        life.start()
        life.join(180)
        assert life.exitcode == (0 if bomb is None else -signal.SIGKILL), f"{bomb}: {life.exitcode}"
    return json.loads(out.read_text())


class KillInCopy:
    """Die when half of the tensors of the n-th snapshot are copied."""

    def __init__(self, nth: int) -> None:
        self.nth = nth

    def __repr__(self) -> str:
        return f"in copy {self.nth}"

    def __call__(self) -> None:
        real, left = snapshots._copy, [self.nth]

        def copy(to, source):
            left[0] -= 1
            if left[0] == 0:
                half = list(to)[: len(to) // 2]
                real({name: to[name] for name in half}, {name: source[name] for name in half})
                _die()
            real(to, source)

        snapshots._copy = copy


class KillAtStep:
    """Die when so many updates have begun."""

    def __init__(self, nth: int) -> None:
        self.nth = nth

    def __repr__(self) -> str:
        return f"at update {self.nth}"

    def __call__(self) -> None:
        KillAtCall(Session, "step", self.nth, after=False)()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    home = tmp_path_factory.mktemp("unbroken") / "run"
    return {"digests": _run(home, [], shared="off"), "losses": rig.losses(home)}


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shm"
    folder.mkdir()
    return folder


def _assert_exact(home, unbroken, bombs, shared):
    assert _run(home, bombs, shared=str(shared)) == unbroken["digests"]
    assert rig.losses(home) == unbroken["losses"]
    assert [one.differences for one in replay(home)] == [()]
    assert list(shared.iterdir()) == [], "shared memory is left behind"


def restores(home):
    return [one.source for one in journal.read(home) if isinstance(one, RestoreVerified)]


@pytest.mark.parametrize(
    "bombs",
    [
        [KillInCopy(12)],
        [KillInCopy(37)],
        [KillAtCall(Slot, "_digest", 14, after=False)],
        [KillAtCall(Slot, "_digest", 31, after=True)],
        [KillAtCall(Slot, "seal", 20, after=True)],
        [KillAtCall(Slot, "break_seal", 25, after=True)],
        [KillAtCall(Slot, "create", 5, after=True)],
        [KillAtCall(Mapped, "seal", 9, after=True)],
        [KillAtCall("os", "fsync", 9, after=False)],
        [KillAtCall("os", "rename", 3, after=True)],
        [KillAtStep(30), KillAtCall(Snapshots, "restore_found", 1, after=False)],
        [KillAtStep(30), KillAtCall(Snapshots, "restore_found", 1, after=True)],
        [KillAtStep(30), KillAtCall(Snapshots, "take", 1, after=False)],
        [KillAtStep(30), KillInCopy(1), KillInCopy(2)],
        [KillAtEvent(Remedy, after=True)],
        [KillAtEvent(RemedyDone, after=False)],
        [KillAtEvent(RemedyDone, after=True)],
    ],
    ids=repr,
)
def test_death_at_a_chosen_moment(tmp_path, shared, unbroken, bombs):
    _assert_exact(tmp_path / "run", unbroken, bombs, shared)


@pytest.mark.parametrize("bomb", random_moments(100), ids=repr)
def test_death_at_a_random_moment(tmp_path, shared, unbroken, bomb):
    _assert_exact(tmp_path / "run", unbroken, [bomb], shared)


def test_one_interval_is_lost_at_most(tmp_path, shared, unbroken):
    home = tmp_path / "run"
    _assert_exact(home, unbroken, [KillAtStep(27)], shared)
    told = list(journal.read(home))
    again = next(one for one in told if isinstance(one, AttemptBegan) and one.cause == "restart")
    before = told[: told.index(again)]
    last = max(one.step for one in before if isinstance(one, StepRecord))
    assert again.checkpoint == "shared memory"
    assert again.step == last == 25  # update 26 was made; its record would have come with the 27th
    assert "shared memory" in restores(home)


def _flip_slots(home, shared, *, steps):
    """Flip a bit in the payload of the states after these steps."""
    for path in folder_of(home, {"STEADYTRAIN_SHM": str(shared)}).iterdir():
        slot = Slot.open(path)
        if slot.is_sealed and slot.header()["step"] in steps:
            slot.memory[slot.payload + 64] ^= 4


def test_a_damaged_state_is_refused_and_the_one_before_is_taken(tmp_path, shared, unbroken):
    home = tmp_path / "run"
    _start(home, shared, [KillAtStep(27)])
    _flip_slots(home, shared, steps=(25, 26))
    _assert_exact(home, unbroken, [], shared)
    (refused,) = [one for one in journal.read(home) if isinstance(one, CheckpointRefused)]
    assert refused.path == "shared memory, step 25"
    assert "its seal does not match" in refused.reason
    again = [one for one in journal.read(home) if isinstance(one, AttemptBegan)][1]
    assert (again.step, again.checkpoint) == (24, "shared memory")


def test_if_all_are_damaged_the_newest_checkpoint_is_taken(tmp_path, shared, unbroken):
    home = tmp_path / "run"
    _start(home, shared, [KillAtStep(37)])
    _flip_slots(home, shared, steps=range(100))
    _assert_exact(home, unbroken, [], shared)
    again = [one for one in journal.read(home) if isinstance(one, AttemptBegan)][1]
    assert (again.step, again.checkpoint) == (30, "a0001-s00000030")


def _start(home, shared, bombs):
    """The lives that end by a bomb."""
    out = home.parent / f"{home.name}.json"
    for bomb in bombs:
        life = _server.Process(target=_live, args=(home, out, RUN, str(shared), bomb))
        life.start()
        life.join(180)
        assert life.exitcode == -signal.SIGKILL


def test_states_of_another_run_in_the_same_home_are_not_of_this_one(tmp_path, shared):
    home = tmp_path / "run"
    _start(home, shared, [KillAtStep(20)])
    home.rename(tmp_path / "earlier")
    changes = {"steps": 8, "snapshot_every": 1}
    fresh = _run(tmp_path / "elsewhere", [], shared="off", changes=changes)
    assert (
        _run(
            home, [KillAtCall(Session, "step", 2, after=False)], shared=str(shared), changes=changes
        )
        == fresh
    )


def test_states_of_another_model_are_refused_in_words(tmp_path, shared):
    home = tmp_path / "run"
    _start(home, shared, [KillAtStep(20)])
    folder = folder_of(home, {"STEADYTRAIN_SHM": str(shared)})
    for path in folder.iterdir():
        slot = Slot.open(path)
        if slot.is_sealed:
            header = json.dumps(slot.header() | {"fingerprint": "another"}).encode()
            slot.break_seal()
            slot.seal(header)
    _run(home, [], shared=str(shared))
    refused = [one for one in journal.read(home) if isinstance(one, CheckpointRefused)]
    assert refused
    assert all("it is of another model" in one.reason for one in refused)
    assert "shared memory" not in restores(home)


def test_without_room_a_run_goes_on_in_plain_memory_and_says_so(
    tmp_path, shared, monkeypatch, capsys
):
    monkeypatch.setenv("STEADYTRAIN_SHM", str(shared))
    monkeypatch.setattr(os, "posix_fallocate", _no_room)
    rig.train(tmp_path / "run", steps=8, snapshot_every=1)
    said = capsys.readouterr().err
    assert said.count("states do not lie in shared memory (No space left on device)") == 1
    assert "STEADYTRAIN_SHM" in said
    assert list(shared.glob("*/*")) == []


def _no_room(*args):
    raise OSError(28, "No space left on device")


def _interrupt(home, number):
    model, _, guarded = rig.session(home, steps=20, snapshot_every=1)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == number:
                raise KeyboardInterrupt


def test_the_end_by_an_error_leaves_them_for_the_next_start(tmp_path, shared, monkeypatch):
    monkeypatch.setenv("STEADYTRAIN_SHM", str(shared))
    home = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        _interrupt(home, 9)
    torch.manual_seed(0)
    rig.train(home, steps=20, snapshot_every=1)
    again = [one for one in journal.read(home) if isinstance(one, AttemptBegan)][1]
    assert (again.step, again.checkpoint) == (8, "shared memory")
    assert list(shared.iterdir()) == []


class TestAStateThatIsTrueToTheBitAndBad:
    """It was corrupt before it was sealed; loading it for ever would be a loop (Megatron-LM #5281)."""

    @pytest.mark.parametrize("value", [float("nan"), -1e-9])
    def test_what_the_next_update_would_make_nan_of_is_not_loaded(
        self, tmp_path, shared, unbroken, value
    ):
        home = tmp_path / "run"
        _start(home, shared, [KillAtStep(27)])
        _poison(home, shared, value, steps=(24, 25, 26))
        _assert_exact(home, unbroken, [], shared)
        again = [one for one in journal.read(home) if isinstance(one, AttemptBegan)][1]
        assert (again.step, again.checkpoint) == (23, "shared memory")
        refused = [one for one in journal.read(home) if isinstance(one, CheckpointRefused)]
        assert len(refused) == 2
        assert all("exp_avg_sq holds" in one.reason for one in refused)

    def test_a_state_that_led_to_the_same_death_is_not_the_first_choice_again(
        self, tmp_path, shared, unbroken
    ):
        home = tmp_path / "run"
        _assert_exact(home, unbroken, [KillAtStep(27), KillAtStep(2)], shared)
        told = [one for one in journal.read(home) if isinstance(one, AttemptBegan)]
        lives = [one for one in told if one.cause != "rollback"]
        assert [one.step for one in lives[:2]] == [0, 25]
        assert 0 < lives[2].step <= 17, "what the judge calls healthy: 8 good steps before the end"


def _poison(home, shared, value, *, steps):
    """Change a second moment of the states after these steps, and seal them again."""
    for path in folder_of(home, {"STEADYTRAIN_SHM": str(shared)}).iterdir():
        slot = Slot.open(path)
        if not slot.is_sealed or slot.header()["step"] not in steps:
            continue
        tensors = slot.header()["tensors"]
        at = next(one[4] for name, one in tensors.items() if name.endswith("exp_avg_sq"))
        struct.pack_into("<f", slot.memory, slot.payload + at, value)
        slot.break_seal()
        slot.seal(slot.memory[HEAD.size : slot.payload].rstrip(b"\0"))
