"""A data order that rewinds and skips by absolute draw."""

import copy

import pytest
import torch

from steadytrain import journal, ramps
from steadytrain.errors import CheckpointError, FeedError, SettingError
from steadytrain.events import BatchExamined, RunBegan, StepRecord
from steadytrain.train import Feed, Session
from steadytrain.train.feed import Segment
from steadytrain.train.losses import segment_sums
from tests import rig


def feed(**changes):
    return Feed(rig.Words(), **({"batch_size": 4} | changes))


def test_steps_take_draws_in_order():
    one = feed()
    assert [one.step_draws(step) for step in (1, 2)] == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_a_rewound_feed_gives_the_same_batches():
    one = feed()
    before = [one.batch(one.step_draws(step)).tokens_BT for step in (1, 2, 3)]
    one.seek(4)
    again = [one.batch(one.step_draws(step)).tokens_BT for step in (2, 3)]
    assert all(torch.equal(a, b) for a, b in zip(before[1:], again, strict=True))


def test_excluded_draws_are_passed_over_and_none_is_renumbered():
    one = feed()
    one.leave_out([(0, ((1, 3), (5, 6)))])
    assert one.step_draws(1) == (0, 3, 4, 6)
    assert one.step_draws(2) == (7, 8, 9, 10)


def test_an_exclusion_holds_only_after_its_step():
    one = feed()
    one.leave_out([(1, ((0, 1), (5, 6)))])
    assert one.step_draws(1) == (0, 1, 2, 3)
    assert one.step_draws(2) == (4, 6, 7, 8)


def test_an_exclusion_that_ended_lets_later_draws_through():
    one = feed()
    one.leave_out([(0, ((1, 2), (9, 10)), 2), (0, ((10, 11),))])
    assert one.step_draws(1) == (0, 2, 3, 4)
    assert one.step_draws(2) == (5, 6, 7, 8)
    assert one.step_draws(3) == (9, 11, 12, 13)


def test_ranks_share_an_update_without_overlap():
    parts = []
    for rank in range(2):
        one = feed(rank=rank, world=2)
        draws = one.step_draws(1)
        parts += [draw for batch in one.micro_batches(draws) for draw in batch.draws]
    assert sorted(parts) == list(range(8))


def test_micro_batches_make_up_the_update():
    one = feed(accumulate=3)
    sizes = [len(batch.draws) for batch in one.micro_batches(one.step_draws(1))]
    assert sizes == [4, 4, 4]


def test_shorter_sequences_are_padded_and_not_counted():
    class Short(rig.Words):
        def block(self, draw):
            piece = super().block(draw)
            return rig.Piece(piece.tokens[: 10 + draw], piece.domain, piece.source)

    batch = Feed(Short(), batch_size=3).batch((0, 1, 2))
    assert batch.counted_BT.sum(1).tolist() == [9, 10, 11]
    assert batch.bytes_B.tolist() == [9, 10, 11]


def test_targets_follow_their_inputs():
    batch = feed().batch((0,))
    assert torch.equal(batch.tokens_BT[0, 1:], batch.targets_BT[0, :-1])


def test_a_draw_before_the_beginning_is_refused():
    with pytest.raises(FeedError, match="draw -1 is before.*Seek 0"):
        feed().seek(-1)


def test_an_empty_update_is_refused():
    with pytest.raises(SettingError, match="make an empty update.*batch_size=32"):
        feed(batch_size=0)


class Packed(rig.Words):
    """Each sequence holds a part of both domains; the second document begins at token 20."""

    def block(self, draw):
        piece = super().block(draw)
        packed = copy.copy(piece)
        other = 1 - piece.domain
        object.__setattr__(packed, "segments", (
            Segment(begin=0, domain=piece.domain, source=f"a:{draw}", num_bytes=20),
            Segment(begin=20, domain=other, source=f"b:{draw}", num_bytes=44),
        ))  # fmt: skip
        return packed


def test_a_packed_sequence_is_credited_to_the_domains_of_its_documents():
    batch = Feed(Packed(), batch_size=2).batch((0, 1))
    assert batch.segment_BT[0].tolist() == [0] * 19 + [1] * (rig.CONTEXT - 19)
    assert batch.domain_BS.tolist() == [[0, 1], [1, 0]]
    nll = torch.rand(2, rig.CONTEXT)
    sums, tokens = segment_sums(nll, batch.counted_BT, batch.segment_BT, segments=2)
    assert tokens.tolist() == [[19, 45], [19, 45]]
    assert sums[0].tolist() == pytest.approx([nll[0, :19].sum().item(), nll[0, 19:].sum().item()])


def test_a_run_on_packed_sequences_records_tokens_by_document(tmp_path):
    from_packed = Feed(Packed(), batch_size=4)
    model, optimizer, _ = rig.session(tmp_path / "unused", steps=4)
    with Session(
        model, optimizer, from_packed, home=tmp_path / "r", steps=3, say=lambda _: None
    ) as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
    record = next(one for one in journal.load(tmp_path / "r") if isinstance(one, StepRecord))
    assert record.tokens == (2 * 19 + 2 * 45, 2 * 45 + 2 * 19)
    assert record.sequences == (4, 4)
    assert record.bytes == (128, 128)
    assert sum(record.nll) == pytest.approx(record.loss * 256, rel=1e-6)


RAMP = ((0, 1), (3, 2), (6, 4))


def test_a_ramp_makes_later_updates_larger_and_leaves_no_draw_out():
    one = feed(batch_size=2, accumulate=RAMP)
    steps = [one.step_draws(step) for step in range(1, 9)]
    assert [len(draws) for draws in steps] == [2, 2, 2, 4, 4, 4, 8, 8]
    assert [draw for draws in steps for draw in draws] == list(range(34))
    assert [len(list(one.micro_batches(draws))) for draws in steps] == [1, 1, 1, 2, 2, 2, 4, 4]


def test_the_size_of_an_update_depends_on_its_step_alone():
    one = feed(batch_size=2, accumulate=RAMP)
    one.leave_out([(0, ((6, 7),))])
    one.seek(6)
    assert one.step_draws(4) == (7, 8, 9, 10)
    one.seek(6)
    assert one.step_draws(7) == (7, 8, 9, 10, 11, 12, 13, 14)


def test_ranks_share_an_update_of_a_ramp_without_overlap():
    parts = []
    for rank in range(2):
        one = feed(batch_size=2, rank=rank, world=2, accumulate=RAMP)
        draws = one.step_draws(5)
        parts += [draw for batch in one.micro_batches(draws) for draw in batch.draws]
    assert sorted(parts) == list(range(8))
    assert feed(world=2, accumulate=RAMP).ramp == ((0, 8), (3, 16), (6, 32))


@pytest.mark.parametrize(
    ("accumulate", "words"),
    [
        ((), "does not say what every step uses.*Write accumulate="),
        (((5, 1),), "must begin after step 0"),
        (((0, 1), (0, 2)), "each later one after a later step"),
        (((0, 1), (9, 2), (4, 3)), "each later one after a later step"),
        (((0, 1), (500, 0)), "makes an empty update"),
        (0, "make an empty update"),
    ],
)
def test_a_ramp_that_leaves_a_step_without_a_size_is_refused(accumulate, words):
    with pytest.raises(SettingError, match=words):
        feed(accumulate=accumulate)


def test_the_total_of_a_ramp_is_the_sum_of_its_values():
    for step in range(1, 12):
        slow = sum(ramps.value_at(RAMP, earlier) for earlier in range(1, step))
        assert ramps.total_before(RAMP, step) == slow


def ramped(home, *, steps, stop_at=None):
    """A run of the ramp in a Session; returns its weights and moments."""
    model, optimizer, _ = rig.session(home, steps=steps)
    guarded = Session(
        model, optimizer, Feed(rig.Words(), batch_size=4, accumulate=RAMP), home=home, steps=steps,
        judge=rig.judge(), schedule=rig.schedule(steps), snapshot_every=5, checkpoint_every=2,
        fence=False, say=lambda _: None,
    )  # fmt: skip
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            if run.step_number == stop_at:
                break
    return rig.digest(model, optimizer)


def test_a_run_of_a_ramp_equals_a_plain_loop_that_ramps(tmp_path):
    guarded = ramped(tmp_path / "r", steps=10)
    model, optimizer, _ = rig.session(tmp_path / "unused", steps=10)
    order, schedule, draw = rig.Words(), rig.schedule(10), 0
    taker = Feed(order, batch_size=4)
    for step in range(1, 11):
        micro = 1 if step <= 3 else 2 if step <= 6 else 4
        optimizer.param_groups[0]["lr"] = schedule.lr(step)
        for _ in range(micro):
            batch = taker.batch(tuple(range(draw, draw + 4)))
            draw += 4
            logp = torch.log_softmax(model(batch.tokens_BT), -1)
            nll = -logp.gather(-1, batch.targets_BT.unsqueeze(-1)).squeeze(-1)
            (nll.sum(1).sum() / nll.numel() / micro).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    assert rig.digest(model, optimizer) == guarded
    records = [one for one in journal.load(tmp_path / "r") if isinstance(one, StepRecord)]
    assert [one.draw_end - one.draw for one in records] == [4] * 3 + [8] * 3 + [16] * 4
    assert [sum(one.sequences) for one in records] == [4] * 3 + [8] * 3 + [16] * 4
    began = next(one for one in journal.load(tmp_path / "r") if isinstance(one, RunBegan))
    assert (began.draws_per_step, began.ramp) == (4, ((3, 8), (6, 16)))


@pytest.mark.parametrize("stop_at", [2, 5, 8])
def test_a_run_goes_on_in_the_middle_of_a_ramp(tmp_path, stop_at):
    ramped(tmp_path / "r", steps=10, stop_at=stop_at)
    assert ramped(tmp_path / "r", steps=10) == ramped(tmp_path / "whole", steps=10)


def test_a_home_with_another_ramp_is_refused(tmp_path, monkeypatch):
    ramped(tmp_path / "r", steps=4)
    monkeypatch.setitem(globals(), "RAMP", ((0, 1), (5, 2)))
    with pytest.raises(CheckpointError, match="whose ramp is"):
        ramped(tmp_path / "r", steps=4)


def test_steps_of_a_ramp_are_made_again_as_they_were(tmp_path):
    """A corrupted update behind the ramp is told from the data: the rerun has its micro-batches."""
    ramp = ((0, 1), (20, 2))
    model, optimizer, _ = rig.session(tmp_path / "unused", steps=60)
    guarded = Session(
        model, optimizer, Feed(rig.Words(), batch_size=6, accumulate=ramp), home=tmp_path / "r",
        steps=60, judge=rig.judge(), schedule=rig.schedule(60), snapshot_every=5,
        checkpoint_every=50, fence=False, say=lambda _: None,
    )  # fmt: skip
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            if run.step_number + 1 == 40 and run.attempt == 1:
                model.head.weight.grad.mul_(1e3)
            run.step()
    (examined,) = [one for one in journal.load(tmp_path / "r") if isinstance(one, BatchExamined)]
    assert examined.differs_at == 40
    assert examined.differs_in == "gradient norm"


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6])
def test_an_update_of_so_many_sequences_is_the_same_whatever_the_number_of_ranks(world):
    feeds = [feed(sequences=12, batch_size=4, rank=rank, world=world) for rank in range(world)]
    for step in (1, 2):
        draws = [one.step_draws(step) for one in feeds]
        assert draws == [tuple(range(12 * (step - 1), 12 * step))] * world
        used = [
            draw for one in feeds for batch in one.micro_batches(draws[0]) for draw in batch.draws
        ]
        assert sorted(used) == list(draws[0])
        number = feeds[0].accumulate(step)
        assert [len(one.share(draws[0])) for one in feeds] == [number * feeds[0].batch_size] * world
        assert feeds[0].batch_size <= 4
    assert feeds[0].ramp == ((0, 12),)


def test_a_ramp_of_sequences_keeps_one_size_of_micro_batch():
    grown = feed(sequences=((0, 12), (5, 24)), batch_size=8, rank=0, world=2)
    assert grown.batch_size == 6
    assert (grown.accumulate(5), grown.accumulate(6)) == (1, 2)
    assert grown.ramp == ((0, 12), (5, 24))


def test_sequences_that_cannot_be_shared_evenly_are_refused_with_what_to_write():
    with pytest.raises(FeedError, match="Write a multiple of 5"):
        feed(sequences=12, world=5)
    with pytest.raises(SettingError, match="Leave accumulate out"):
        feed(sequences=12, accumulate=2)


def test_a_home_with_updates_of_another_size_is_told_how_to_keep_the_size(tmp_path):
    rig.train(tmp_path / "run", steps=2)
    model, optimizer, _ = rig.session(tmp_path / "unused", steps=4)
    with (
        pytest.raises(CheckpointError, match=r"write Feed\(order, sequences=...\)"),
        Session(model, optimizer, feed(batch_size=6), home=tmp_path / "run", steps=4),
    ):
        pass
