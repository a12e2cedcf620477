"""Near-duplicates are grouped, other texts are not."""

import random

from steadytrain.text.alike import groups

WORDS = [
    "loss",
    "step",
    "batch",
    "token",
    "layer",
    "norm",
    "weight",
    "rate",
    "seed",
    "shard",
    "epoch",
    "draw",
    "panel",
    "judge",
    "curve",
]


def prose(seed):
    return " ".join(random.Random(seed).choices(WORDS, k=80))


def test_copies_with_small_changes_belong_together():
    text = prose(1)
    some = [prose(2), text, prose(3), text + " the end", text.replace("loss", "gain", 1), prose(4)]
    assert groups(some) == [[1, 3, 4]]


def test_the_largest_group_comes_first_and_chinese_counts_as_well():
    one, other = "锟斤拷烫烫烫屯屯屯" * 5, "\n" * 129
    assert groups([one, other, one, other, other]) == [[1, 3, 4], [0, 2]]


def test_different_texts_and_no_texts_have_no_groups():
    assert groups([prose(at) for at in range(20)]) == []
    assert groups([]) == []
    assert groups(["", "a"]) == []
