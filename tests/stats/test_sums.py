"""Sums merge by addition; means come last; an absent domain is a gap."""

import math

import pytest

from steadytrain.stats.sums import DomainSums, ancestors, inner_domains, total

ZH = DomainSums(nll=30.0, tokens=10, bytes=40, sequences=2, squares=18.0)
EN = DomainSums(nll=30.0, tokens=30, bytes=90, sequences=3, squares=3.0)


def test_sums_merge_by_addition_in_any_order():
    assert ZH + EN == EN + ZH == total([ZH, EN])
    assert total([ZH, EN]).loss == 60 / 40


def test_a_mean_of_means_is_another_number():
    assert total([ZH, EN]).loss != (ZH.loss + EN.loss) / 2


def test_a_domain_without_tokens_is_a_gap():
    empty = DomainSums()
    assert (empty.loss, empty.perplexity, empty.bits_per_byte) == (None, None, None)


def test_bits_per_byte_counts_original_bytes():
    assert ZH.bits_per_byte == pytest.approx(30 / (math.log(2) * 40))


def test_a_hopeless_loss_has_infinite_perplexity():
    assert DomainSums(nll=1e6, tokens=1).perplexity == math.inf


def test_ancestors_are_the_names_above():
    assert ancestors("code/python/web") == ("code/python", "code")
    assert ancestors("zh") == ()


def test_inner_domains_have_at_least_two_leaves():
    assert inner_domains(["zh/news", "zh/wiki", "code/python", "en"]) == {"zh": (0, 1)}
