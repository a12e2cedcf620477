"""Two ranks with gloo: the same decisions at the same step, on every rank."""

import json
from pathlib import Path

import pytest

from steadytrain import control, journal
from steadytrain.control import Word
from steadytrain.events import Diagnosis, Outcome, RemedyDone, StepRecord
from steadytrain.replaying import replay
from tests import rig
from tests.ranks import together

GARBLED = range(40 * rig.BATCH, 43 * rig.BATCH)


def _one_rank(rank: int, home: Path, out: Path, changes: dict) -> None:
    import torch.distributed as dist

    from steadytrain.train import Ranks

    stop_at = changes.pop("stop_at", None)
    ranks = Ranks.join()
    if stop_at is None:
        rig.train_and_note(home, out / f"{rank}.json", changes | {"ranks": ranks})
    else:
        model, _, guarded = rig.session(home, ranks=ranks, **changes)
        with guarded as run:
            for batch in run:
                run.backward(model(batch.tokens_BT), batch)
                run.step()
                if run.step_number == stop_at:
                    break
    dist.destroy_process_group()


def _train(tmp_path, name, **changes):
    together(2, _one_rank, tmp_path / name, tmp_path, changes)
    outs = [tmp_path / f"{rank}.json" for rank in range(2)]
    return [json.loads(out.read_text()) for out in outs if out.exists()]


@pytest.fixture(scope="module")
def healed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return folder / "run", _train(folder, "run", steps=80, garbled=GARBLED)


def test_both_ranks_end_with_the_same_state(healed):
    _, (first, second) = healed
    assert first == second


def test_bad_data_is_healed_by_two_ranks_together(healed):
    home, _ = healed
    found = list(journal.read(home))
    assert [one.causes[0].name for one in found if isinstance(one, Diagnosis)] == ["bad text"]
    assert [one.result for one in found if isinstance(one, Outcome)] == ["cured"]
    assert [one.differences for one in replay(home)] == [()]


def test_a_record_counts_the_sequences_of_all_ranks(healed):
    home, _ = healed
    records = [one for one in journal.read(home) if isinstance(one, StepRecord)]
    assert all(sum(one.sequences) == rig.BATCH for one in records)


def test_two_ranks_go_on_exactly_where_they_stopped(healed, tmp_path):
    _, whole = healed
    _train(tmp_path, "run", steps=80, garbled=GARBLED, stop_at=47)
    assert _train(tmp_path, "run", steps=80, garbled=GARBLED) == whole


def test_a_persons_order_is_carried_out_by_both_ranks_before_the_same_update(tmp_path):
    home = tmp_path / "ordered"
    home.mkdir()
    control.send(home, Word(verb="order", plan="lr 0.5 hold 5 rewarm 5; epsilon 10"))
    first, second = _train(tmp_path, "ordered", steps=20)
    assert first == second
    events = list(journal.read(home))
    (done,) = [one for one in events if isinstance(one, RemedyDone)]
    assert done.step == 1
    plan = rig.schedule(20)
    records = [one for one in events if isinstance(one, StepRecord)]
    shares = [one.lr / plan.lr(one.step) for one in records[:7]]
    assert shares == pytest.approx([1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6])
    assert [one.differences for one in replay(home)] == [()]
