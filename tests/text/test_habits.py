"""Limits learned from healthy text: never below the defaults, never above what is corrupt."""

import base64
import random
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steadytrain.text import Habits, lint
from steadytrain.text.habits import CEILINGS, measure

NAMES = [
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
]
TAGGED = "".join(f"<li><i>{name}</i> and then {NAMES[-at]}</li>\n" for at, name in enumerate(NAMES))
PROSE = "A curve falls for a long time, and then it does not; somebody looks at it and guesses. "


def test_no_text_teaches_the_defaults():
    assert Habits.learn([]) == Habits()


def test_plain_text_teaches_the_defaults():
    assert Habits.learn([PROSE, PROSE[::-1]], domain="en") == Habits()


def test_text_that_is_usual_in_a_domain_is_clean_once_it_was_learned():
    assert lint(TAGGED, domain="en").kind == "markup"
    habits = Habits.learn([TAGGED, PROSE], domain="en")
    assert habits.tags > Habits().tags
    assert lint(TAGGED, domain="en", habits=habits).verdict == "clean"


def test_one_corrupt_text_among_thousands_teaches_nothing():
    healthy = [PROSE + str(at) for at in range(1200)]
    broken = [base64.b64encode(random.Random(1).randbytes(900)).decode()]
    assert Habits.learn(healthy + broken, domain="en").encoded == Habits().encoded


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (base64.b64encode(random.Random(2).randbytes(900)).decode(), "encoded"),
        (random.Random(3).randbytes(900).decode("utf-8", "replace"), "garbled"),
        ("the same few words again. " * 60, "repetition"),
        (
            "".join(f"<td class='{name}'><b><i>{name[::-1]}</i></b></td>" for name in NAMES),
            "markup",
        ),
        ("\n" * 400, "blank"),
        (
            "\u8bad\u7ec3\u5f00\u59cb\u4e4b\u524d\u968f\u673a\u62bd\u53d6\u5e8f\u5217\u5c01\u5b58\u8d77\u6765",
            "wrong_domain",
        ),
    ],
)
def test_a_text_that_is_corrupt_as_a_whole_is_found_whatever_was_learned(text, kind):
    habits = Habits.learn([text] * 20, domain="en")
    assert lint(text, domain="en", habits=habits).kind == kind


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=200), max_size=5))
def test_limits_lie_between_the_defaults_and_the_ceilings(texts):
    habits = Habits.learn(texts, domain="en")
    for field in fields(Habits):
        limit = getattr(habits, field.name)
        assert getattr(Habits(), field.name) <= limit <= CEILINGS[field.name]


def test_a_measure_stands_for_each_limit():
    assert len(measure(PROSE, domain="en")) == len(fields(Habits)) == len(CEILINGS)
    assert list(CEILINGS) == [field.name for field in fields(Habits)]
