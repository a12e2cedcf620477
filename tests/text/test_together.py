"""Short texts are judged together, by what clean ones of their domain reach."""

import math
import random

import pytest

from steadytrain.text import Profile
from steadytrain.text.together import FEW_TEXTS, Together

WORDS = {
    "en": ["the", "of", "and", "to", "in", "that", "was", "he", "for", "with", "as", "his", "on"],
    "code": [
        "def",
        "self",
        "return",
        "None",
        "import",
        "raise",
        "(x)",
        "==",
        "[0]",
        "{}",
        "+=",
        ":",
    ],
    "zh": list("的一是不了人我在有他这为之大来以个中上们"),
}


def windows(domain, count, seed=0, prose=0.0):
    """Texts of words drawn at random; some of the code is prose, as in a docstring."""
    rng = random.Random(f"{domain}{seed}")
    some = []
    for _ in range(count):
        kind = "en" if domain == "code" and rng.random() < prose else domain
        some.append((" " if kind != "zh" else "").join(rng.choices(WORDS[kind], k=30)))
    return some


@pytest.fixture(scope="module")
def profiles():
    return {name: Profile.learn(windows(name, 400)) for name in WORDS}


@pytest.fixture(scope="module")
def code(profiles):
    return Together(windows("code", 600, seed=1, prose=0.2), "code", profiles)


def test_many_texts_of_another_domain_are_foreign(code):
    found = code.judge(windows("en", 16, seed=2))
    assert found is not None
    assert found.kind == "wrong_domain"
    assert "sounds like en" in found.evidence


def test_prose_in_programs_is_no_news(code):
    texts = windows("code", 40_000, seed=3, prose=0.2)
    for size in (1, 4, 8, 16):
        groups = [texts[at : at + size] for at in range(0, 2_000 * size, size)]
        assert not any(map(code.judge, groups))


def test_too_few_are_not_judged_however_foreign(code):
    assert code.limit("en", 3) == math.inf
    assert code.judge(windows("en", 3, seed=4)) is None


def test_more_texts_need_less_of_a_lead(code):
    limits = [code.limit("en", count) for count in (5, 8, 16, 32)]
    assert limits == sorted(limits, reverse=True)


def test_neighbours_of_one_document_count_for_less(profiles):
    alike = [text for one in windows("code", 80, seed=5, prose=0.2) for text in [one] * 8]
    assert Together(alike, "code", profiles).effects["en"] > 4


@pytest.mark.parametrize("texts", [FEW_TEXTS - 1, 0])
def test_without_enough_text_only_the_script_tells(profiles, texts):
    little = Together(windows("zh", texts), "zh", profiles)
    assert little.judge(windows("zh", 16, seed=6)) is None
    found = little.judge(windows("en", 16, seed=6))
    assert found is not None
    assert found.kind == "wrong_domain"


def test_domains_of_one_kind_are_not_told_apart(profiles):
    kin = {"code/go": profiles["code"], "code/rust": profiles["en"]}
    assert not Together(windows("code", 200), "code/go", kin).effects
