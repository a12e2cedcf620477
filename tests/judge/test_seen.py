"""What is read from the steps that the judge remembers."""

import msgspec

from steadytrain.judge.judge import Judge
from steadytrain.judge.seen import Seen, mixture_of
from tests import samples


def steps(first, end, *, draws, tokens, draw=0):
    return [
        Seen(
            step=step, draw=draw + (step - first) * draws, draw_end=draw + (step - first + 1) * draws,
            loss=2.0, committed=True, lr_ratio=1.0, in_band=True, tokens=tokens,
        )
        for step in range(first, end)
    ]  # fmt: skip


RAMP = ((0, 8), (40, 16))


def test_shares_that_move_behind_a_batch_ramp_are_seen():
    before = steps(1, 41, draws=8, tokens=(400, 400))
    after = steps(41, 49, draws=16, tokens=(400, 1200))
    assert mixture_of(("zh", "en"), before, after, sizes=RAMP) == ("zh", 0.5, 0.25)


def test_a_larger_batch_alone_moves_no_shares():
    before = steps(1, 41, draws=8, tokens=(400, 400))
    after = steps(41, 49, draws=16, tokens=(800, 800))
    assert mixture_of(("zh", "en"), before, after, sizes=RAMP) is None


def test_steps_with_draws_left_out_say_nothing_of_the_shares():
    before = steps(1, 41, draws=8, tokens=(400, 400))
    after = steps(41, 49, draws=20, tokens=(400, 1200))
    assert mixture_of(("zh", "en"), before, after, sizes=RAMP) is None


def test_the_judge_learns_the_sizes_of_updates_from_the_runs_first_line():
    judge = Judge()
    began = msgspec.structs.replace(samples.began(), draws_per_step=8, ramp=((40, 16),))
    state, _ = judge.update(judge.init(), began)
    assert state.sizes == RAMP
