"""What a soft cap on the output would do, against the plain way."""

import pytest
import torch
from torch.nn import functional as F

from steadytrain.events import BatchExamined
from steadytrain.judge.evidence import logit_words
from steadytrain.lab.model import Config, Transformer
from steadytrain.train import Feed
from steadytrain.train.softcap import CapLook, as_evidence, look, look_at
from tests import rig


def _batch(scale=20.0, sequences=3):
    chance = torch.Generator().manual_seed(sequences)
    logits = scale * torch.randn(sequences, 7, 13, generator=chance)
    targets = torch.randint(0, 13, (sequences, 7), generator=chance)
    counted = torch.rand(sequences, 7, generator=chance) < 0.8
    return logits, targets, counted


def test_losses_under_a_cap_are_those_of_capped_logits():
    first, second = _batch(), _batch(sequences=2)
    seen = look([first, second], caps=(5.0, 30.0, 1e6))
    logits, targets, counted = (torch.cat(pair) for pair in zip(first, second, strict=True))
    for cap, loss in seen.capped_loss:
        capped = cap * torch.tanh(logits.double() / cap)
        expected = F.cross_entropy(capped[counted], targets[counted])
        assert loss == pytest.approx(float(expected), rel=1e-5)  # float32 terms
    assert seen.capped_loss[2][1] == pytest.approx(
        float(F.cross_entropy(logits[counted], targets[counted])), rel=1e-5
    )
    assert seen.logit_max == float(logits[counted].abs().max())


def test_tokens_that_do_not_count_are_not_looked_at():
    logits, targets, counted = _batch()
    counted[0, 0] = False
    plain = look([(logits, targets, counted)])
    logits[0, 0] = 1e6
    assert look([(logits, targets, counted)]) == plain


@pytest.mark.parametrize(("scale", "is_saturated"), [(2.0, False), (200.0, True)])
def test_a_saturated_cap_of_the_model_shows_in_the_share_at_the_top(scale, is_saturated):
    logits, targets, counted = _batch(scale)
    seen = look([(30.0 * torch.tanh(logits / 30.0), targets, counted)])
    assert (seen.at_cap > 0.5) is is_saturated


def test_a_model_is_looked_at_in_eval_mode_and_left_as_it_was():
    feed = Feed(rig.Words(), batch_size=4)
    model = Transformer(Config(width=16, layers=1, heads=2, context=rig.CONTEXT), seed=0)
    seen = look_at(model, feed, range(10))
    assert model.training
    batch = feed.batch(tuple(range(10)))
    logits = model(batch.tokens_BT).detach()
    assert seen.logit_max == pytest.approx(float(logits.abs().max()))
    assert dict(seen.capped_loss)[30.0] == pytest.approx(
        float(
            F.cross_entropy(
                30.0 * torch.tanh(logits / 30.0).flatten(0, 1), batch.targets_BT.flatten()
            )
        ),
        rel=1e-5,
    )


def test_ranks_are_put_together_and_one_that_did_not_look_is_left_out():
    one = CapLook(logit_max=10.0, capped_loss=((30.0, 2.0), (50.0, 3.0)), at_cap=0.1)
    other = CapLook(logit_max=12.0, capped_loss=((30.0, 4.0), (50.0, 5.0)), at_cap=0.3)
    assert as_evidence([one, None, other]) == {
        "logit_max": 12.0,
        "capped_loss": ((30.0, 3.0), (50.0, 4.0)),
        "logits_at_cap": pytest.approx(0.2),
    }
    assert as_evidence([None]) == {}


def test_words_say_what_a_cap_would_cost_and_whether_one_is_saturated():
    seen = BatchExamined(
        incident="i", attempt=1, step=5, control_now=2.0, logit_max=29.9,
        capped_loss=((30.0, 2.1), (50.0, 2.05)), logits_at_cap=0.25,
    )  # fmt: skip
    first, second = logit_words(seen)
    assert "29.9" in first
    assert "at 30 2.100, at 50 2.050, without one 2.000" in first
    assert "25% of its tokens" in second
    assert logit_words(None) == ()
