"""Averages up the tree of domains: micro as of one heap of text, macro as of equal children."""

import math

import numpy as np
import pytest

from steadytrain.stats.hierarchy import tree, weighted_change, weighted_interval
from steadytrain.stats.paired import change, interval

NAMES = ("zh/news", "zh/wiki", "code/rust")


@pytest.mark.parametrize(
    ("domains", "names"),
    [
        (["zh"], ["zh"]),
        (["zh", "en"], ["all", "zh", "en"]),
        (["zh/news", "zh/wiki"], ["zh", "zh/news", "zh/wiki"]),
        (NAMES, ["all", "zh", "zh/news", "zh/wiki", "code/rust"]),
        (["a/b/c", "x", "a/b/d"], ["all", "a/b", "a/b/c", "a/b/d", "x"]),
        (["zh", "zh/news", "en"], ["all", "zh/*", "zh", "zh/news", "en"]),
        ([], []),
    ],
)
def test_a_node_stands_above_two_or_more(domains, names):
    assert [node.name for node in tree(domains)] == names


def test_each_leaf_is_below_each_of_its_parents_once_and_shares_add_up():
    for node in tree(["a/x/1", "a/x/2", "a/y", "b", "c/1", "c/2", "c/3"]):
        assert len(set(node.leaves)) == len(node.leaves)
        assert math.fsum(node.shares) == pytest.approx(1.0)


def test_the_macro_average_counts_children_alike_whatever_they_hold():
    top = tree(["a/x/1", "a/x/2", "a/y", "b"])[0]
    assert dict(zip(top.leaves, top.shares, strict=True)) == {0: 0.125, 1: 0.125, 2: 0.25, 3: 0.5}


def test_the_micro_average_is_the_loss_of_all_text_together():
    chance = np.random.default_rng(0)
    parts = [chance.normal(mean, 0.4, 50).tolist() for mean in (2.0, 5.0)]
    lengths = [chance.integers(10, 100, 50).tolist() for _ in parts]
    both = weighted_interval(
        [interval(x, w) for x, w in zip(parts, lengths, strict=True)], [sum(w) for w in lengths]
    )
    heap = interval(parts[0] + parts[1], lengths[0] + lengths[1])
    assert both.loss == pytest.approx(heap.loss, rel=1e-12)
    assert both.sequences == heap.sequences
    # Domains that are drawn by number, not by chance, do not scatter against each other.
    assert both.error < heap.error / 3


def test_intervals_of_a_mean_of_domains_cover_the_truth_as_often_as_they_say():
    chance = np.random.default_rng(1)
    weights = (0.7, 0.3)
    covered = 0
    for _ in range(4000):
        few, many = chance.normal(2.0, 0.5, 6), chance.normal(3.0, 0.1, 40)
        found = weighted_interval([interval(few.tolist()), interval(many.tolist())], weights)
        covered += abs(found.loss - (0.7 * 2.0 + 0.3 * 3.0)) <= found.half
    assert covered / 4000 == pytest.approx(0.95, abs=0.014)  # four standard errors


def test_a_change_of_a_mean_is_the_mean_of_the_changes():
    before, after = [[1.0, 2.0, 3.0], [2.0, 2.5]], [[1.2, 2.1, 3.3], [2.1, 2.4]]
    parts = [change(x, y) for x, y in zip(before, after, strict=True)]
    both = weighted_change(parts, [1, 1], jitter=0.01)
    assert both.mean == pytest.approx((0.2 + 0.0) / 2)
    assert both.error == pytest.approx(math.hypot(parts[0].error, parts[1].error) / 2)
    assert both.jitter == 0.01


def test_one_sequence_in_a_domain_leaves_the_whole_without_an_error():
    both = weighted_interval([interval([2.0]), interval([2.0, 3.0, 4.0])], [1, 1])
    assert both.error == math.inf
    assert both.is_too_weak


def test_nan_in_a_domain_is_nan_in_all_above_it():
    both = weighted_interval([interval([2.0, math.nan]), interval([2.0, 3.0])], [1, 1])
    assert math.isnan(both.loss)
    assert both.is_too_weak
