"""A data order that rewinds and skips by absolute draw."""

import copy

import pytest
import torch

from steadytrain import journal
from steadytrain.errors import FeedError, SettingError
from steadytrain.events import StepRecord
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
