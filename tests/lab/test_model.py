import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from steadytrain.errors import SettingError
from steadytrain.lab.model import Config, Transformer, rotary_tables, rotate

SMALL = Config(width=32, layers=2, heads=2, context=16)


def some_tokens(batch, length, seed=0):
    return torch.randint(0, 256, (batch, length), generator=torch.Generator().manual_seed(seed))


class TestConfig:
    def test_the_default_hidden_layer_is_8_thirds_of_the_width(self):
        assert Config().hidden == 256

    @pytest.mark.parametrize("name", ["width", "layers", "heads", "context", "vocab"])
    def test_a_size_below_one_is_refused(self, name):
        with pytest.raises(SettingError, match=f"{name}=0 is not a size"):
            Config(**{name: 0})

    def test_a_width_that_heads_cannot_share_in_pairs_is_refused(self):
        with pytest.raises(SettingError, match="multiple of 10"):
            Config(width=96, heads=5)

    @pytest.mark.parametrize("share", [0.0, -0.1, 1.5, math.nan])
    def test_a_shrink_that_is_none_is_refused(self, share):
        with pytest.raises(SettingError, match="embed_shrink=0.1"):
            Config(embed_shrink=share)

    @pytest.mark.parametrize("cap", [0.0, -1.0, math.inf, math.nan])
    def test_a_cap_that_leaves_no_logits_is_refused(self, cap):
        with pytest.raises(SettingError, match="softcap=30.0"):
            Config(softcap=cap)


class TestSeed:
    def test_the_same_seed_gives_the_same_weights(self):
        one, two = Transformer(SMALL, seed=3), Transformer(SMALL, seed=3)
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)

    def test_another_seed_gives_other_weights(self):
        one, two = Transformer(SMALL, seed=3), Transformer(SMALL, seed=4)
        assert not torch.equal(one.head.weight, two.head.weight)

    def test_the_global_random_state_is_neither_read_nor_changed(self):
        torch.manual_seed(7)
        before = torch.get_rng_state()
        one = Transformer(SMALL, seed=3)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(8)
        assert torch.equal(one.head.weight, Transformer(SMALL, seed=3).head.weight)

    def test_every_weight_is_written(self):
        for name, weight in Transformer(SMALL, seed=0).named_parameters():
            assert torch.isfinite(weight).all(), name
            assert weight.abs().max() < 10, name


class TestForward:
    def test_logits_have_a_row_of_257_for_every_token(self):
        assert Transformer(SMALL, seed=0)(some_tokens(3, 5)).shape == (3, 5, 257)

    def test_a_position_does_not_see_what_comes_after_it(self):
        model, tokens_BT = Transformer(SMALL, seed=0), some_tokens(2, 16)
        changed_BT = tokens_BT.clone()
        changed_BT[:, 9:] = 256
        # rtol 1e-5: attention may be summed in another order
        torch.testing.assert_close(
            model(tokens_BT)[:, :9], model(changed_BT)[:, :9], rtol=1e-5, atol=1e-5
        )

    def test_the_first_loss_is_near_that_of_a_guess_among_257(self):
        tokens_BT = some_tokens(8, 17)
        logits_BTV = Transformer(SMALL, seed=0)(tokens_BT[:, :-1])
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten())
        assert math.log(257) - 0.1 < loss.item() < math.log(257) + 1.0

    def test_a_sequence_beyond_the_context_is_refused(self):
        with pytest.raises(SettingError, match="longer than context=16"):
            Transformer(SMALL, seed=0)(some_tokens(1, 17))

    def test_twenty_steps_learn_a_line_by_heart(self):
        model = Transformer(SMALL, seed=0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        tokens_BT = some_tokens(1, 17)
        for _ in range(20):
            logits_TV = model(tokens_BT[:, :-1])[0]
            loss = F.cross_entropy(logits_TV, tokens_BT[0, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.5


class TestStabilisers:
    def test_without_them_the_model_is_as_it_was(self):
        names = set(Transformer(SMALL, seed=0).state_dict())
        assert not [name for name in names if "q_norm" in name or "k_norm" in name]

    def test_norms_of_queries_and_keys_draw_no_random_number(self):
        plain = Transformer(SMALL, seed=3).state_dict()
        normed = Transformer(replace(SMALL, qk_norm=True), seed=3).state_dict()
        assert set(normed) - set(plain) == {
            f"blocks.{n}.attend.{one}_norm.weight" for n in (0, 1) for one in "qk"
        }
        assert all(torch.equal(normed[name], weight) for name, weight in plain.items())

    def test_queries_and_keys_a_hundred_times_larger_change_nothing_under_the_norm(self):
        tokens_BT = some_tokens(2, 9)
        changes = []
        for qk_norm in (True, False):
            model = Transformer(replace(SMALL, qk_norm=qk_norm), seed=0)
            before = model(tokens_BT)
            with torch.no_grad():
                model.blocks[0].attend.qkv.weight[: 2 * SMALL.width] *= 100
            changes.append((model(tokens_BT) - before).abs().max().item())
        assert changes[0] < 1e-4 < 1e-2 < changes[1]  # RMSNorm's epsilon, in float32

    def test_attention_under_the_norm_is_that_of_normalised_heads(self):
        config = replace(SMALL, qk_norm=True)
        attend = Transformer(config, seed=1).blocks[0].attend
        with torch.no_grad():
            attend.q_norm.weight.uniform_(0.5, 2.0)
            attend.k_norm.weight.uniform_(0.5, 2.0)
        x_BTW = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
        cos_TR, sin_TR = rotary_tables(5, 16)
        found = attend(x_BTW, cos_TR[:, None], sin_TR[:, None])
        q, k, v = (x_BTW @ attend.qkv.weight.T).chunk(3, dim=-1)
        rows = []
        for head in range(2):
            part = slice(16 * head, 16 * head + 16)
            turned = []
            for one, norm in ((q, attend.q_norm), (k, attend.k_norm)):
                mine = one[..., part]
                mine = mine / mine.square().mean(-1, keepdim=True).sqrt() * norm.weight
                turned.append(rotate(mine[:, :, None], cos_TR[:, None], sin_TR[:, None])[:, :, 0])
            scores = turned[0] @ turned[1].transpose(1, 2) / 4
            scores = scores.masked_fill(~torch.ones(5, 5).tril().bool(), -math.inf)
            rows.append(scores.softmax(-1) @ v[..., part])
        expected = torch.cat(rows, -1) @ attend.out.weight.T
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_a_shrunk_embedding_gives_the_same_logits_and_a_tenth_of_its_gradient(self):
        tokens_BT, grads, logits = some_tokens(2, 9), [], []
        for share in (1.0, 0.1):
            model = Transformer(replace(SMALL, embed_shrink=share), seed=0)
            logits.append(model(tokens_BT))
            logits[-1].square().mean().backward()
            grads.append((model.embed.weight.grad, model.head.weight.grad))
        torch.testing.assert_close(logits[0], logits[1])
        torch.testing.assert_close(0.1 * grads[0][0], grads[1][0])
        torch.testing.assert_close(grads[0][1], grads[1][1])

    def test_no_logit_leaves_the_cap_and_small_ones_stay(self):
        plain, capped = (Transformer(replace(SMALL, softcap=cap), seed=0) for cap in (None, 2.0))
        tokens_BT = some_tokens(2, 9)
        logits, found = plain(tokens_BT), capped(tokens_BT)
        assert logits.abs().max() > 2.0 > found.abs().max()
        torch.testing.assert_close(found, 2.0 * torch.tanh(logits / 2.0))


class TestNames:
    def test_a_name_tells_the_depth(self):
        names = [name for name, _ in Transformer(SMALL, seed=0).named_parameters()]
        assert {name.split(".")[0] for name in names} == {"embed", "blocks", "norm", "head"}
        assert {name.split(".")[1] for name in names if name[0] == "b"} == {"0", "1"}

    def test_a_checkpoint_holds_parameters_and_nothing_else(self):
        model = Transformer(SMALL, seed=0)
        assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}

    def test_there_are_no_biases_and_the_head_is_its_own(self):
        model = Transformer(SMALL, seed=0)
        assert not [name for name, _ in model.named_parameters() if "bias" in name]
        assert model.head.weight is not model.embed.weight


class TestRotation:
    def test_it_turns_pairs_as_complex_numbers_do(self):
        x_BTHD = torch.randn(2, 7, 3, 8, generator=torch.Generator().manual_seed(0))
        cos_TR, sin_TR = rotary_tables(7, 8)
        turned_BTHR = torch.complex(x_BTHD[..., :4], x_BTHD[..., 4:]) * torch.complex(
            cos_TR, sin_TR
        ).unsqueeze(1)
        torch.testing.assert_close(
            rotate(x_BTHD, cos_TR[:, None], sin_TR[:, None]),
            torch.cat((turned_BTHR.real, turned_BTHR.imag), -1),
        )

    def test_only_the_distance_between_positions_matters(self):
        cos_TR, sin_TR = rotary_tables(20, 8)
        q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0))
        turned_q = rotate(q.expand(1, 20, 1, 8), cos_TR[:, None], sin_TR[:, None])[0, :, 0]
        turned_k = rotate(k.expand(1, 20, 1, 8), cos_TR[:, None], sin_TR[:, None])[0, :, 0]
        products = (turned_q[3:] * turned_k[:-3]).sum(-1)
        torch.testing.assert_close(products, products[:1].expand(17))
