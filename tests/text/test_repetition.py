"""Text that repeats itself, and text that only looks so."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytrain.text import lint
from steadytrain.text.repetition import repeated_share

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


def _prose(size, seed=0):
    chance = random.Random(seed)
    return " ".join(chance.choice(WORDS) + str(chance.randrange(9999)) for _ in range(size))[:size]


@pytest.mark.parametrize("period", [3, 7, 40, 90, 250, 500, 1000, 1300, 2000])
def test_an_exact_period_is_found(period):
    text = _prose(period) * (3 + 1200 // period)
    assert lint(text, domain="en").kind == "repetition"


def test_two_copies_of_a_page_are_found():
    assert lint(_prose(2000) * 2, domain="en").kind == "repetition"


@pytest.mark.parametrize("seed", range(3))
def test_copies_with_small_edits_are_found(seed):
    chance, part = random.Random(seed), _prose(240)
    copies = [
        "".join("x" if chance.random() < 1 / 60 else char for char in part) for _ in range(10)
    ]
    assert lint("\n".join(copies), domain="en").kind == "repetition"


def test_a_line_repeated_in_half_of_a_text_is_found_with_its_place():
    before, line = _prose(3000), "this very line came out of a broken loop again\n"
    text = before + line * 60 + _prose(500, seed=1)
    found = lint(text, domain="en")
    assert found.kind == "repetition"
    first, stop = found.offsets[0]
    assert abs(first - len(before)) <= len(line)
    assert abs(stop - len(before) - 60 * len(line)) <= len(line)


@pytest.mark.parametrize("char", ["a", "0", ".", "\u554a", "\u54c8"])
def test_one_character_for_a_whole_text_is_repetition(char):
    assert lint(char * 600).kind == "repetition"


def test_prose_with_different_words_is_clean():
    assert lint(_prose(4000)).verdict == "clean"


def test_a_short_period_without_a_chosen_place_is_measured_all_the_same():
    assert min(repeated_share(char.encode() * 5000) for char in "abcdefgh~!0") > 0.99


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=6000))
def test_the_share_is_a_share(raw):
    assert 0.0 <= repeated_share(raw) <= 1.0
