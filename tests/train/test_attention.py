"""Attention logits are heard as they are, whatever the model is wrapped in, and cost no wait."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from steadytrain.errors import SettingError
from steadytrain.train.attention import AttentionProbe
from steadytrain.train.logits import head_maxima
from tests.train.attentions import (
    VOCAB,
    WIDTH,
    ByHand,
    Fused,
    Model,
    Multihead,
    Separate,
    all_logits,
)
from tests.train.test_session import _CountSyncs

LENGTH = 12
CPU = torch.device("cpu")
KINDS = {
    "separate": partial(Separate, groups=4),
    "grouped queries": Separate,
    "one key head": partial(Separate, groups=1),
    "repeated keys": partial(Separate, repeat=True),
    "wq and wk": partial(Separate, names=("wq", "wk")),
    "norm by module": partial(Separate, norm="module"),
    "norm by function": partial(Separate, norm="function"),
    "thirds": partial(Fused, "thirds"),
    "thirds, grouped": partial(Fused, "thirds", groups=2),
    "gpt2": partial(Fused, "gpt2"),
    "by group": partial(Fused, "by group"),
    "by group, grouped": partial(Fused, "by group", groups=2),
    "megatron": partial(Fused, "megatron", groups=2),
    "multihead": Multihead,
}


def model_of(kind, layers=2, **settings):
    torch.manual_seed(7)
    return Model(*(KINDS[kind]() for _ in range(layers)), **settings)


def tokens_of(seed=0, sequences=3):
    return torch.randint(
        0, VOCAB, (sequences, LENGTH), generator=torch.Generator().manual_seed(seed)
    )


def train_once(model, tokens):
    model(tokens).square().mean().backward()


def heard(probe, model):
    return [probe.heads(f"blocks.{n}.{_place(one)}", 4) for n, one in enumerate(model.blocks)]


def _place(block):
    return "attend.attend" if isinstance(block.attend, Multihead) else "attend"


def everything(model):
    return AttentionProbe(model, queries=LENGTH, sequences=100)


@pytest.mark.parametrize("kind", KINDS)
def test_with_all_queries_the_probe_hears_what_the_whole_softmax_would(kind):
    model, tokens = model_of(kind), tokens_of()
    probe = everything(model)
    train_once(model, tokens)
    for found, expected in zip(heard(probe, model), all_logits(model, tokens), strict=True):
        torch.testing.assert_close(found, expected)  # float32 sums of 4 products
    assert probe.largest(CPU) == max(float(one.max()) for one in heard(probe, model))


def test_a_few_queries_give_a_lower_bound_that_is_one_of_the_logits():
    q, k = torch.randn(2, 4, 50, 8), torch.randn(2, 2, 50, 8)
    found = head_maxima(q, k, is_causal=True, queries=5, sequences=1)
    logits = (q[:1] @ k[:1].repeat_interleave(2, dim=1).transpose(2, 3)) / 8**0.5
    expected = logits.masked_fill(torch.ones(50, 50).triu(1).bool(), -torch.inf)[0, :, 9::10]
    torch.testing.assert_close(found, expected.amax((1, 2)))


def test_the_last_query_is_always_looked_at():
    for length in range(1, 40):
        q = torch.zeros(1, 1, length, 4)
        q[0, 0, -1] = 3.0
        k = torch.ones(1, 1, length, 4)
        assert head_maxima(q, k, is_causal=True, queries=16) == 6.0


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(6, 6, dtype=torch.bool).tril(),
        torch.zeros(6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf),
        torch.zeros(6, 6).masked_fill(
            torch.ones(6, 6).triu(1).bool(), torch.finfo(torch.float32).min
        ),
        torch.ones(2, 1, 6, 6, dtype=torch.bool).tril(),
        torch.ones(1, 3, 6, 6, dtype=torch.bool).tril(),
        (torch.arange(6) < 3).expand(2, 1, 1, 6),
    ],
    ids=["bool", "infinite", "smallest", "by sequence", "by head", "padding"],
)
def test_a_masked_key_is_not_heard(mask):
    q, k = torch.randn(2, 3, 6, 4), torch.randn(2, 3, 6, 4)
    probe = AttentionProbe(nn.Identity(), queries=6, sequences=2)
    probe._hear_attention(q, k, k, mask, scale=0.7)
    logits = 0.7 * q @ k.transpose(2, 3)
    seen = mask if mask.dtype == torch.bool else mask > -1
    expected = logits.masked_fill(~seen, -torch.inf).amax((0, 2, 3))
    torch.testing.assert_close(probe.heads("attention", 3), expected)


@pytest.mark.parametrize("settings", [{"need_weights": False}, {"need_weights": True}])
def test_the_padding_of_torchs_multihead_attention_is_not_heard(settings):
    torch.manual_seed(0)
    attend = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
    probe = AttentionProbe(attend, queries=5, sequences=3)
    x = torch.randn(3, 5, WIDTH)
    x[:, 3:] *= 100.0
    padding = torch.tensor([[False] * 3 + [True] * 2] * 3)
    attend(x, x[:, :], x, key_padding_mask=padding, **settings)
    q, k, _ = F.linear(x, attend.in_proj_weight, attend.in_proj_bias).chunk(3, -1)
    q, k = (one.unflatten(-1, (2, -1)).transpose(1, 2) for one in (q, k))
    logits = (q @ k.transpose(2, 3) / (WIDTH // 2) ** 0.5)[..., :3]
    torch.testing.assert_close(probe.heads("", 2), logits.amax((0, 2, 3)))


def test_the_largest_of_all_micro_batches_counts_until_it_is_forgotten():
    model = model_of("separate")
    probe = everything(model)
    alone = []
    for seed in range(3):
        train_once(model, tokens_of(seed))
        alone.append(float(probe.largest(CPU)))
        probe.begin()
    for seed in range(3):
        train_once(model, tokens_of(seed))
    assert float(probe.largest(CPU)) == max(alone)
    probe.begin()
    assert float(probe.largest(CPU)) == -torch.inf


def test_passes_without_gradients_or_in_eval_mode_are_not_heard():
    model = model_of("separate")
    probe = everything(model)
    with torch.no_grad():
        model(tokens_of())
    model.eval()
    model(tokens_of())
    assert float(probe.largest(CPU)) == -torch.inf
    assert probe.why_blind() is None


def test_what_is_heard_aside_leaves_the_record_alone():
    model = model_of("separate")
    probe = everything(model)
    train_once(model, tokens_of(0))
    before = heard(probe, model)
    with probe.aside():
        train_once(model, tokens_of(1))
        inside = heard(probe, model)
    assert all(map(torch.equal, before, heard(probe, model)))
    assert not all(map(torch.equal, before, inside))


def _save_products(_, op, *args, **kwargs):
    products = {torch.ops.aten.mm.default, torch.ops.aten.bmm.default, torch.ops.aten.addmm.default}
    is_product = op in products
    return CheckpointPolicy.MUST_SAVE if is_product else CheckpointPolicy.PREFER_RECOMPUTE


CHECKPOINTS = {
    "recomputed": partial(checkpoint, use_reentrant=False),
    "reentrant": partial(checkpoint, use_reentrant=True),
    "selective": partial(
        checkpoint,
        use_reentrant=False,
        context_fn=partial(create_selective_checkpoint_contexts, _save_products),
    ),
}


def _with_products(block, x):
    """A block and products of the kind that the probe makes as well."""
    return block(x) + 0.1 * (x @ x.transpose(1, 2)) @ x


def _recomputed(way, block, x):
    return way(_with_products, block, x)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpointed_layers_are_heard_once_and_give_the_same_gradients(name):
    plain, tokens = model_of("grouped queries", around=_with_products), tokens_of()
    train_once(plain, tokens)
    model = model_of("grouped queries", around=partial(_recomputed, CHECKPOINTS[name]))
    probe = everything(model)
    calls = []
    keep = probe._keep
    probe._keep = lambda *given: (calls.append(1), keep(*given))
    for parameter in model.parameters():
        parameter.grad = None
    train_once(model, tokens)
    assert len(calls) == 2
    for found, expected in zip(heard(probe, model), all_logits(plain, tokens), strict=True):
        torch.testing.assert_close(found, expected)
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_a_watched_model_computes_what_it_computed_to_the_bit():
    for kind in KINDS:
        plain, watched = model_of(kind), model_of(kind)
        AttentionProbe(watched)
        train_once(plain, tokens_of())
        train_once(watched, tokens_of())
        for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad)


def test_under_autocast_logits_are_those_of_the_rounded_queries_in_float32():
    model, tokens = model_of("separate", layers=1), tokens_of()
    probe, exact = everything(model), all_logits(model, tokens)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        train_once(model, tokens)
    found = heard(probe, model)[0]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.03, atol=0.03)  # bfloat16 rounds by 2^-8
    assert isinstance(probe.layouts["blocks.0.attend"], object)
    assert not isinstance(probe.layouts["blocks.0.attend"], str)


def test_a_model_with_a_softmax_of_its_own_says_so_and_may_tell_its_logits():
    torch.manual_seed(0)
    model, tokens = Model(ByHand(), ByHand()), tokens_of()
    probe = everything(model)
    train_once(model, tokens)
    assert "AttentionProbe.note(logits_BHTK)" in probe.why_blind()
    for block in model.blocks:
        block.attend.probe = probe
    train_once(model, tokens)
    assert probe.why_blind() is None
    for found, expected in zip(heard(probe, model), all_logits(model, tokens), strict=True):
        torch.testing.assert_close(found, expected)
    with torch.no_grad():
        before = heard(probe, model)
        model(tokens_of(5))
    assert all(map(torch.equal, before, heard(probe, model)))


def test_an_error_in_the_forward_leaves_no_listener_behind():
    model = model_of("separate")
    probe = everything(model)
    with pytest.raises(IndexError):
        model(torch.full((1, LENGTH), VOCAB))
    assert torch.overrides._len_torch_function_stack() == 0
    train_once(model, tokens_of())
    assert all(one is not None for one in heard(probe, model))
    assert torch.overrides._len_torch_function_stack() == 0


def test_a_logit_that_is_not_a_number_is_heard_as_one():
    model = model_of("separate")
    probe = everything(model)
    with torch.no_grad():
        model.blocks[1].attend.q_proj.weight[0, 0] = torch.nan
    train_once(model, tokens_of())
    assert probe.largest(CPU).isnan()


def test_listening_does_not_wait_for_the_device():
    q, k = torch.randn(2, 4, 20, 8), torch.randn(2, 2, 20, 8)
    with _CountSyncs() as counter:
        head_maxima(q, k, is_causal=True, allowed=torch.ones(20, 20, dtype=torch.bool))
    assert counter.found == []


def test_a_closed_probe_leaves_the_model_as_it_was():
    model = model_of("separate")
    hooks = [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules()]
    everything(model).close()
    assert hooks == [len(o._forward_hooks) + len(o._forward_pre_hooks) for o in model.modules()]


def test_hooks_of_the_first_look_are_gone_after_it():
    model = model_of("separate")
    everything(model)
    train_once(model, tokens_of())
    assert all(not block.attend.q_proj._forward_hooks for block in model.blocks)


@pytest.mark.parametrize("settings", [{"queries": 0}, {"sequences": -1}])
def test_a_probe_that_would_look_at_nothing_is_refused(settings):
    with pytest.raises(SettingError, match="Write"):
        AttentionProbe(nn.Identity(), **settings)


# torch's own tracing looks at the gradients of tensors that have none.
@pytest.mark.filterwarnings("default::UserWarning")
class TestCompiledModels:
    def test_a_compiled_model_says_that_it_cannot_be_heard_and_works(self):
        model = model_of("separate", layers=1)
        compiled = torch.compile(model, backend="eager")
        probe = AttentionProbe(compiled)
        train_once(compiled, tokens_of())
        assert "torch.compile" in probe.why_blind()
        assert float(probe.largest(CPU)) == -torch.inf

    def test_a_block_that_is_compiled_in_place_is_noticed(self):
        model = model_of("separate", layers=1)
        model.blocks[0].compile(backend="eager")
        probe = AttentionProbe(model)
        train_once(model, tokens_of())
        assert "torch.compile" in probe.why_blind()

    def test_a_model_compiled_after_the_probe_was_set_is_compiled_once(self):
        counter = torch._dynamo.testing.CompileCounter()
        model = model_of("separate", layers=1)
        probe = AttentionProbe(model)
        compiled = torch.compile(model, backend=counter)
        for seed in range(4):
            train_once(compiled, tokens_of(seed))
            with torch.no_grad():
                compiled(tokens_of(seed))
            probe.begin()
        plain = torch._dynamo.testing.CompileCounter()
        torch._dynamo.reset()
        bare = torch.compile(model_of("separate", layers=1), backend=plain)
        for seed in range(4):
            train_once(bare, tokens_of(seed))
            with torch.no_grad():
                bare(tokens_of(seed))
        assert counter.frame_count == plain.frame_count
