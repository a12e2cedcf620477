"""QK-clip brings every head to the threshold, no further, and refuses where it would do nothing."""

from functools import partial

import pytest
import torch
from torch import nn

from steadytrain.errors import SettingError
from steadytrain.train import Ranks
from steadytrain.train.attention import AttentionProbe
from steadytrain.train.qkclip import QKClip, reason_not, reason_not_heard, shares
from tests.train.attentions import Fused, Model, Multihead, Separate, all_logits
from tests.train.test_attention import KINDS, everything, model_of, tokens_of, train_once
from tests.train.test_session import _CountSyncs

CLIPPED = [kind for kind in KINDS if not kind.startswith("norm")]
COMMIT = torch.ones(())


def grown(kind, factor=3.0):
    """A model whose heads have logits of very different sizes."""
    model = model_of(kind)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "attend" in name and "out" not in name:
                parameter.mul_(factor)
    return model


def middle(model):
    """A threshold that some heads are above and some below."""
    return float(torch.cat(all_logits(model, tokens_of())).median())


def clip(model, threshold, commit=COMMIT):
    probe = everything(model)
    train_once(model, tokens_of())
    clipping = QKClip(probe, Ranks())
    clipping.after_step(threshold, commit)
    return clipping


@pytest.mark.parametrize("kind", CLIPPED)
def test_each_head_lands_on_the_threshold_and_those_below_it_stay(kind):
    # One block: the input of a second one would change with the first.
    torch.manual_seed(7)
    model = Model(KINDS[kind]())
    before, tau = all_logits(model, tokens_of())[0], middle(model)
    clip(model, tau)
    (after,) = all_logits(model, tokens_of())
    assert (before > tau).any()
    assert (before < tau).any()
    torch.testing.assert_close(after, before.clamp(max=tau), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", CLIPPED)
def test_only_queries_and_keys_change_and_no_weight_grows(kind):
    model = grown(kind)
    names = {"q_proj", "k_proj", "wq", "wk", "qkv", "c_attn", "query_key_value", "linear_qkv"}
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    clip(model, 0.5 * middle(model))
    for name, now in model.named_parameters():
        assert (now.abs() <= before[name].abs()).all()
        is_projection = bool(names & set(name.split("."))) or "in_proj" in name
        assert is_projection or torch.equal(now, before[name])


@pytest.mark.parametrize("kind", ["thirds", "by group, grouped", "gpt2", "megatron", "multihead"])
def test_values_in_a_fused_weight_stay_to_the_bit(kind):
    model = grown(kind)
    attend = model.blocks[0].attend
    x = torch.randn(2, 5, 16)
    before = attend.heads_of(x)[2].clone()
    clip(model, 0.1)
    after = attend.heads_of(x)
    assert torch.equal(after[2], before)


def test_where_no_head_is_above_the_threshold_nothing_changes_to_the_bit():
    for kind in CLIPPED:
        model = model_of(kind)
        before = [one.detach().clone() for one in model.parameters()]
        clip(model, 1e4)
        assert all(map(torch.equal, before, model.parameters()))


def test_an_update_that_was_held_back_is_not_followed_by_a_clip():
    model = grown("separate")
    before = [one.detach().clone() for one in model.parameters()]
    clip(model, 0.1, commit=torch.zeros(()))
    assert all(map(torch.equal, before, model.parameters()))


def test_logits_that_are_not_finite_scale_nothing():
    for bad in (torch.nan, torch.inf):
        model = grown("separate")
        probe = everything(model)
        train_once(model, tokens_of())
        for key in probe._found:
            probe._found[key] = torch.full((4,), bad)
        before = [one.detach().clone() for one in model.parameters()]
        QKClip(probe, Ranks()).after_step(0.1, COMMIT)
        assert all(map(torch.equal, before, model.parameters()))


def test_the_key_takes_what_all_its_queries_need_and_no_query_grows():
    chance = torch.Generator().manual_seed(0)
    for groups in (1, 2, 4, 8):
        gamma_H = torch.rand(8, generator=chance) * 0.99 + 0.01
        gamma_H[3] = 1.0
        query_H, key_G = shares(gamma_H, groups=groups)
        torch.testing.assert_close(query_H * key_G.repeat_interleave(8 // groups), gamma_H)
        assert (query_H <= 1).all()
        assert (key_G <= 1).all()
    query_H, key_G = shares(torch.tensor([0.25, 0.09]), groups=2)
    torch.testing.assert_close(query_H, torch.tensor([0.5, 0.3]))  # Kimi's: both by the root
    torch.testing.assert_close(key_G, query_H)


def test_a_clip_waits_for_the_device_in_its_first_call_only():
    model = grown("grouped queries")
    probe = everything(model)
    clipping = QKClip(probe, Ranks())
    counts = []
    for seed in range(3):
        probe.begin()
        train_once(model, tokens_of(seed))
        with _CountSyncs() as counter:
            clipping.after_step(0.5, COMMIT)
        counts.append(len(counter.found))
    assert counts[1:] == [0, 0]


def test_without_an_order_nothing_is_clipped():
    model = grown("separate")
    before = [one.detach().clone() for one in model.parameters()]
    clip(model, None)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan")])
def test_a_threshold_that_is_no_logit_is_refused(threshold):
    with pytest.raises(SettingError, match="ClipAttention\\(threshold=100\\)"):
        clip(model_of("separate"), threshold)


@pytest.mark.parametrize("kind", ["norm by module", "norm by function"])
def test_a_norm_of_queries_and_keys_is_noticed_and_nothing_is_scaled(kind):
    model = grown(kind)
    before = [one.detach().clone() for one in model.parameters()]
    clipping = clip(model, 0.1)
    assert "norm" in clipping.refusal
    assert all(map(torch.equal, before, model.parameters()))


def test_a_norm_that_a_name_shows_is_told_before_the_run():
    assert "normalises its queries and keys" in reason_not(model_of("norm by module"))


def test_a_model_that_can_be_clipped_has_nothing_against_it():
    for kind in CLIPPED:
        model = model_of(kind)
        probe = AttentionProbe(model)
        train_once(model, tokens_of())
        assert reason_not(model) is None
        assert reason_not_heard(probe) is None


class Shuffled(Fused):
    """Head by head, but every head's numbers mixed with the next one's."""

    def heads_of(self, x):
        made = self.qkv(x).roll(1, dims=-1)
        q, k, v = made.unflatten(-1, (3, self.heads, -1)).unbind(2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def test_a_layout_that_is_not_known_is_refused_and_nothing_is_scaled():
    torch.manual_seed(0)
    model = Model(Shuffled("thirds"), Separate())
    before = [one.detach().clone() for one in model.parameters()]
    clipping = clip(model, 0.1)
    assert "not turned rows of its projections" in clipping.refusal
    assert all(map(torch.equal, before, model.parameters()))


def test_a_model_without_known_names_is_refused_in_words():
    torch.manual_seed(0)
    model = Model(Separate(names=("alpha", "beta")))
    assert "q_proj and k_proj" in reason_not(model)
    assert "are not known" in clip(model, 0.1).refusal


def test_a_compiled_model_is_refused_in_words():
    assert "compiled" in reason_not(torch.compile(model_of("separate"), backend="eager"))


def test_the_refusal_is_said_once():
    said = []
    model = grown("norm by function")
    probe = everything(model)
    clipping = QKClip(probe, Ranks(), say=said.append)
    for _ in range(3):
        train_once(model, tokens_of())
        clipping.after_step(1.0, COMMIT)
    assert len(said) == 1


def test_weights_put_together_from_others_are_not_taken_for_the_model():
    model = Model(Separate())
    nn.utils.parametrizations.weight_norm(model.blocks[0].attend.q_proj)
    assert reason_not(model) is not None


def test_the_weights_that_a_clip_may_shrink_are_named():
    for make, count in ((Separate, 4), (partial(Fused, "gpt2"), 2), (Multihead, 2)):
        model = Model(make())
        assert len(QKClip(AttentionProbe(model), Ranks()).weights()) == count
