"""Attention calls are heard by name where the first pass shows that this is enough."""

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import scaled_dot_product_attention as bound

from steadytrain.train import attention
from steadytrain.train.hearing import NAMES, Ear

ORIGINALS = [getattr(F, name) for name in NAMES]


def qkv():
    return (torch.randn(1, 2, 3, 4),) * 3


def by_name():
    return F.scaled_dot_product_attention(*qkv())


def by_a_name_of_its_own():
    return bound(*qkv())


def multihead():
    x = torch.randn(3, 1, 4)
    return nn.MultiheadAttention(4, 2)(x, x, x)


class Listener:
    def __init__(self):
        self.heard = []
        self.ear = Ear(self._note("attention"), self._note("multihead"))

    def _note(self, what):
        return lambda *_, **__: self.heard.append(what)

    def listen(self, *calls):
        self.heard.clear()
        self.ear.begin()
        try:
            for call in calls:
                call()
        finally:
            self.ear.end()
        return list(self.heard)


@pytest.mark.parametrize(
    ("call", "expected", "uses_names"),
    [
        (by_name, "attention", True),
        (multihead, "multihead", True),
        (by_a_name_of_its_own, "attention", False),
    ],
)
def test_every_pass_hears_each_call_once(call, expected, uses_names):
    listener = Listener()
    for _ in range(3):
        assert listener.listen(call, call) == [expected] * 2
        assert listener.ear.uses_names is uses_names


def test_one_call_by_another_name_keeps_the_mode():
    listener = Listener()
    for _ in range(2):
        assert listener.listen(by_name, by_a_name_of_its_own) == ["attention"] * 2
    assert not listener.ear.uses_names


def test_after_the_first_pass_no_other_call_of_torch_is_touched():
    listener = Listener()
    listener.listen(by_name)
    depths = []
    listener.listen(by_name, lambda: depths.append(torch.overrides._len_torch_function_stack()))
    assert depths == [0]


def test_two_that_listen_hear_the_same_and_leave_in_any_order():
    one, other = Listener(), Listener()
    for _ in range(2):
        one.heard.clear()
        other.heard.clear()
        one.ear.begin()
        other.ear.begin()
        try:
            by_name()
        finally:
            # The mode of the first pass is a stack; names have no order.
            for listener in (one, other) if one.ear.uses_names else (other, one):
                listener.ear.end()
        assert one.heard == other.heard == ["attention"]
        assert [getattr(F, name) for name in NAMES] == ORIGINALS


def test_calls_of_another_thread_are_not_heard():
    def elsewhere():
        thread = threading.Thread(target=by_name)
        thread.start()
        thread.join()

    listener = Listener()
    listener.listen(by_name)
    assert listener.listen(elsewhere, by_name) == ["attention"]


def test_an_error_in_a_call_leaves_the_names_as_they_were():
    listener = Listener()
    for _ in range(2):
        with pytest.raises(TypeError):
            listener.listen(by_name, lambda: F.scaled_dot_product_attention(None, None, None))
        assert [getattr(F, name) for name in NAMES] == ORIGINALS
    assert listener.listen(by_name) == ["attention"]


def test_a_name_that_another_stands_in_for_meanwhile_is_left_to_it(monkeypatch):
    listener = Listener()
    monkeypatch.setattr(F, NAMES[0], ORIGINALS[0])  # what is put back at the end

    def take_over():
        inner = F.scaled_dot_product_attention
        monkeypatch.setattr(F, NAMES[0], lambda *a, **k: inner(*a, **k))

    listener.listen(by_name, take_over, by_name)
    assert F.scaled_dot_product_attention is not ORIGINALS[0]
    by_name()
    assert listener.heard == ["attention"] * 2


class Deep(nn.Module):
    def forward(self, x):
        for _ in range(6):
            x = F.scaled_dot_product_attention(x, x, x, is_causal=True)
        return x


def test_layers_of_one_shape_are_looked_at_together_and_large_ones_alone(monkeypatch):
    torch.manual_seed(0)
    model, x = Deep(), torch.randn(2, 2, 8, 4, requires_grad=True)
    looks, largest = [], []
    look = attention.head_maxima_of_calls

    def counted(picks, **settings):
        looks.append(len(picks))
        return look(picks, **settings)

    monkeypatch.setattr(attention, "head_maxima_of_calls", counted)
    probe = attention.AttentionProbe(model)
    for most in (attention.MOST_KEPT, 0):
        monkeypatch.setattr(attention, "MOST_KEPT", most)
        probe.begin()
        model(x)
        largest.append(probe.largest(torch.device("cpu")))
    assert looks == [6] + [1] * 6
    torch.testing.assert_close(*largest)
