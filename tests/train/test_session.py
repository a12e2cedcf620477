"""The loop's promises: what is recorded, what is refused, what a rollback leaves behind."""

import math
import shutil

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steadytrain import journal
from steadytrain.actions import SkipDraws
from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import (
    Advice,
    AttemptBegan,
    BatchExamined,
    Diagnosis,
    JudgeState,
    Outcome,
    PanelRecord,
    Remedy,
    RunEnded,
    StepRecord,
)
from steadytrain.judge.judge import Judge
from steadytrain.lab.model import Config
from steadytrain.replaying import replay
from steadytrain.train import Feed, Session
from tests import rig


def _of(home, kind):
    return [event for event in journal.read(home) if isinstance(event, kind)]


def test_every_update_is_on_record_once(tmp_path):
    rig.train(tmp_path / "r", steps=30)
    assert [one.step for one in _of(tmp_path / "r", StepRecord)] == list(range(1, 31))
    assert isinstance(list(journal.read(tmp_path / "r"))[-1], RunEnded)


def test_the_recorded_loss_is_the_models_own(tmp_path):
    model, _, guarded = rig.session(tmp_path / "r", steps=3)
    expected = []
    with guarded as run:
        for batch in run:
            logits = model(batch.tokens_BT)
            expected.append(
                torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), batch.targets_BT.flatten()
                ).item()
            )
            run.backward(logits, batch)
            run.step()
    found = [one.loss for one in _of(tmp_path / "r", StepRecord)]
    assert found == pytest.approx(expected, rel=1e-6)  # float32 means of 768 terms


def test_the_sums_of_the_domains_make_the_loss(tmp_path):
    rig.train(tmp_path / "r", steps=3)
    for one in _of(tmp_path / "r", StepRecord):
        assert sum(one.nll) / sum(one.tokens) == pytest.approx(one.loss, rel=1e-12)
        assert one.sequences == (6, 6)
        assert sum(one.tokens) == rig.BATCH * rig.CONTEXT


def test_z_loss_trains_but_is_kept_apart(tmp_path):
    plain = rig.train(tmp_path / "a", steps=5)
    with_z = rig.train(tmp_path / "b", steps=5, z_loss=0.01)
    assert plain != with_z
    first = [_of(tmp_path / name, StepRecord)[0] for name in ("a", "b")]
    assert first[0].loss == first[1].loss
    assert first[0].z_loss is None
    assert first[1].z_loss > 0


def test_a_guarded_run_without_trouble_equals_the_bare_loop(tmp_path):
    guarded = rig.train(tmp_path / "r", steps=20)
    model, optimizer, unused = rig.session(tmp_path / "unused", steps=20)
    feed = Feed(rig.Words(), batch_size=rig.BATCH)
    schedule = rig.schedule(20)
    for step in range(1, 21):
        batch = feed.batch(feed.step_draws(step))
        optimizer.param_groups[0]["lr"] = schedule.lr(step)
        logits = model(batch.tokens_BT)
        logp = torch.log_softmax(logits, -1)
        nll = -logp.gather(-1, batch.targets_BT.unsqueeze(-1)).squeeze(-1)
        (nll.sum(1).sum() / nll.numel()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert rig.digest(model, optimizer) == guarded


def test_accumulated_micro_batches_are_one_update(tmp_path):
    model, optimizer, _ = rig.session(tmp_path / "unused", steps=4)
    feed = Feed(rig.Words(), batch_size=4, accumulate=3)
    guarded = Session(model, optimizer, feed, home=tmp_path / "r", steps=4, fence=False)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    records = _of(tmp_path / "r", StepRecord)
    assert [one.draw for one in records] == [0, 12, 24, 36]
    assert all(sum(one.sequences) == 12 for one in records)


def test_the_panel_is_looked_at_on_schedule_and_at_the_end(tmp_path):
    rig.train(tmp_path / "r", steps=30)
    found = _of(tmp_path / "r", PanelRecord)
    assert [(one.step, one.why) for one in found] == [
        (0, "before the run"), (20, "schedule"), (30, "last")
    ]  # fmt: skip
    assert all(len(losses) == 10 for losses in found[0].losses)
    assert found[0].nll[0] / found[0].tokens[0] == pytest.approx(
        sum(found[0].losses[0]) / 10, rel=1e-9
    )


class _CountSyncs(TorchDispatchMode):
    """Counts operations that would make the host wait for a device."""

    waiting = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal"}

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name in self.waiting:
            self.found.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def test_no_host_sync_on_the_steps_path(tmp_path):
    model, _, guarded = rig.session(
        tmp_path / "r", steps=20, panel=None, checkpoint_every=100, snapshot_every=100
    )
    counts = []
    with guarded as run:
        for batch in run:
            logits = model(batch.tokens_BT)
            with _CountSyncs() as counter:
                run.backward(logits, batch)
                run.step()
            counts.append(counter.found)
    # The first update makes the optimizer's state, the second hears how its rehearsal came out; the
    # last one ends the run.
    assert counts[2:-1] == [[]] * 17


def test_the_counter_of_syncs_does_count():
    with _CountSyncs() as counter:
        torch.ones(()).item()
        bool(torch.ones(()) > 0)
    assert len(counter.found) == 2


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path):
    model, optimizer, guarded = rig.session(tmp_path / "r", steps=40)
    before = after = None
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            if run.step_number + 1 == 30:
                model.head.weight.grad[0, 0] = math.nan
                before = rig.digest(model, optimizer)
            run.step()
            if before and after is None:
                after = rig.digest(model, optimizer)
    assert before == after
    skipped = [one.step for one in _of(tmp_path / "r", StepRecord) if not one.committed]
    assert skipped == [30]
    assert [one.causes[0].name for one in _of(tmp_path / "r", Diagnosis)] == ["numeric overflow"]
    assert [one.result for one in _of(tmp_path / "r", Outcome)] == ["cured"]


def test_bad_data_is_found_rolled_back_and_never_seen_again(tmp_path):
    garbled = range(40 * rig.BATCH, 43 * rig.BATCH)
    rig.train(tmp_path / "r", steps=80, garbled=garbled)
    (examined,) = _of(tmp_path / "r", BatchExamined)
    assert examined.defect == "garbled"
    bad = {draw for draw in garbled if draw % 2 == 0}
    assert {draw for first, end in examined.flagged for draw in range(first, end)} == bad
    (diagnosis,) = _of(tmp_path / "r", Diagnosis)
    assert (diagnosis.causes[0].name, diagnosis.causes[0].domain) == ("bad text", "prose")
    assert [one.result for one in _of(tmp_path / "r", Outcome)] == ["cured"]
    assert (tmp_path / "r" / examined.path).exists()


def test_a_rollback_equals_a_run_that_never_saw_the_skipped_draws(tmp_path):
    garbled = range(40 * rig.BATCH, 43 * rig.BATCH)
    healed = rig.train(tmp_path / "r", steps=80, garbled=garbled)
    (remedy,) = _of(tmp_path / "r", Remedy)
    skip = next(action for action in remedy.plan if isinstance(action, SkipDraws))
    clean = rig.train(tmp_path / "clean", steps=80, garbled=garbled, left_out=skip.ranges)
    assert _of(tmp_path / "clean", Remedy) == []
    assert clean == healed
    assert rig.losses(tmp_path / "clean") == rig.losses(tmp_path / "r")


def test_a_replay_reaches_every_judgment_byte_for_byte(tmp_path):
    rig.train(tmp_path / "r", steps=80, garbled=range(40 * rig.BATCH, 43 * rig.BATCH))
    (result,) = replay(tmp_path / "r")
    assert result.judgments >= 5
    assert result.differences == ()


def test_a_replay_with_another_judgment_on_record_says_so(tmp_path):
    rig.train(tmp_path / "r", steps=80, garbled=range(40 * rig.BATCH, 43 * rig.BATCH))
    path = journal.files(tmp_path / "r", "rank0")[0]
    path.write_text(path.read_text().replace('"result":"cured"', '"result":"worse"'))
    (result,) = replay(tmp_path / "r")
    assert len(result.differences) == 1


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = rig.train(tmp_path / "r", steps=20)
    again = rig.train(tmp_path / "r", steps=20)
    assert first == again
    assert [one.cause for one in _of(tmp_path / "r", AttemptBegan)] == ["start", "restart"]
    assert len(_of(tmp_path / "r", StepRecord)) == 20


def test_a_run_goes_on_where_it_stopped(tmp_path):
    model, _, guarded = rig.session(tmp_path / "r", steps=40)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == 27:
                break
    resumed = rig.train(tmp_path / "r", steps=40)
    assert resumed == rig.train(tmp_path / "whole", steps=40)


def _train_with_a_bad_gradient(home, *, stop_at=None, is_bad=True):
    model, optimizer, guarded = rig.session(home, steps=60)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            if is_bad and run.step_number + 1 == 30:
                model.head.weight.grad[0, 0] = math.nan
            run.step()
            if run.step_number == stop_at:
                break
    return rig.digest(model, optimizer)


def test_an_update_that_was_held_back_stays_so_when_a_restart_repeats_it(tmp_path):
    whole = _train_with_a_bad_gradient(tmp_path / "whole")
    _train_with_a_bad_gradient(tmp_path / "r", stop_at=36)
    resumed = _train_with_a_bad_gradient(tmp_path / "r", is_bad=False)
    assert resumed == whole
    assert _of(tmp_path / "r", Advice) == []


def test_an_error_inside_the_judge_ends_judging_and_not_training(tmp_path, capsys, monkeypatch):
    def broken(self, state, record):
        if record.step == 10:
            raise ZeroDivisionError("a bug of ours")
        return state, ()

    monkeypatch.setattr(Judge, "_step", broken)
    rig.train(tmp_path / "r", steps=20, fence=True)
    assert [one.step for one in _of(tmp_path / "r", StepRecord)] == list(range(1, 21))
    assert "UNGUARDED" in capsys.readouterr().err


def test_a_run_whose_judge_failed_goes_on_after_a_restart(tmp_path, monkeypatch):
    judged = Judge._step

    def broken(self, state, record):
        if record.step == 12:
            raise ZeroDivisionError("a bug of ours")
        return judged(self, state, record)

    monkeypatch.setattr(Judge, "_step", broken)
    model, _, guarded = rig.session(tmp_path / "r", steps=40, fence=True)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == 25:
                break
    rig.train(tmp_path / "r", steps=40, fence=True)
    assert isinstance(list(journal.read(tmp_path / "r"))[-1], RunEnded)
    assert all(one.step < 12 or one.step > 20 for one in _of(tmp_path / "r", JudgeState))
    assert [one.differences for one in replay(tmp_path / "r")] == [()]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps=0 would never come"),
        ({"steps": 10, "snapshot_every": 0}, "snapshot_every=0"),
        ({"steps": 10, "clip": -1.0}, "clip=-1.0 would stop every gradient"),
        ({"steps": 10, "z_loss": 2.0}, "z_loss=2.0 is no usable coefficient"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, settings, words):
    steps = settings.pop("steps")
    with pytest.raises(SettingError, match=words):
        rig.session(tmp_path / "r", steps=steps, **({"schedule": None} | settings))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"panel": None}, "whose panel is"), ({"width": 32}, "whose model is")],
)
def test_a_home_of_another_run_is_refused(tmp_path, change, words, monkeypatch):
    rig.train(tmp_path / "r", steps=5)
    if "width" in change:
        monkeypatch.setattr(rig, "Config", lambda **fields: Config(**(fields | {"width": 32})))
        change = {}
    with pytest.raises(CheckpointError, match=f"{words}.*Choose another home"):
        rig.train(tmp_path / "r", steps=5, **change)


def test_a_rollback_without_a_state_to_return_to_does_not_begin_anew(tmp_path):
    model, _, guarded = rig.session(
        tmp_path / "r", steps=80, garbled=range(40 * rig.BATCH, 43 * rig.BATCH)
    )
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if _of(tmp_path / "r", Remedy):
                break  # decided and not carried out
    shutil.rmtree(tmp_path / "r" / "checkpoints")
    with pytest.raises(CheckpointError, match="remedy-1 returns to step 40"):
        rig.train(tmp_path / "r", steps=80)
