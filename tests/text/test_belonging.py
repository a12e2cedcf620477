"""Does a text belong to its domain? Scripts, tags, and what English and code sound like."""

import inspect
import json.decoder

import pytest

from steadytrain.text import Profile, lint, nearest

PROSE = (
    "The loss of a long run falls, and then it does not; somebody wakes at night and looks at the curve. "
    "It is not easy to tell what went wrong, because the run has been going for weeks and many people "
    "have changed the mixture in that time. A tool that writes down what it saw before it acts can be "
    "trusted to act, and those who come in the morning will find what they need to decide on the rest. "
    "Nobody should have to guess which of the documents were in the batch that made the curve jump."
)
CODE = inspect.getsource(json.decoder)[3000:6500]
CHINESE = (
    "训练开始之前，从每个域里随机抽两百条序列，封存起来，永远不拿去训练。以后每次评测都用它们。"
)
RUSSIAN = (
    "Потери долго падали, а потом вдруг выросли. Ночью кто-то просыпается и смотрит на кривую."
)


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        (CHINESE, "en"), (CHINESE, "code"), (RUSSIAN, "en"), (RUSSIAN, "code"), (RUSSIAN, "zh"),
        (PROSE, "code"), (PROSE, "code/python"), (CODE, "en"), (PROSE, "zh"), (CODE, "zh"),
    ],
)  # fmt: skip
def test_text_of_another_domain_is_told(text, domain):
    assert lint(text, domain=domain).kind == "wrong_domain"


@pytest.mark.parametrize(
    ("text", "domain"),
    [(CHINESE, "zh"), (PROSE, "en"), (CODE, "code"), (CODE, "code/go"), (RUSSIAN, None),
     (RUSSIAN, "ru"), (CHINESE, None), (f"{CODE}# {CHINESE}", "code")],
)  # fmt: skip
def test_text_of_its_own_domain_is_clean(text, domain):
    assert lint(text, domain=domain).verdict == "clean"


def test_short_text_is_never_judged_by_its_grams():
    assert lint(PROSE[:300], domain="code").verdict == "clean"


def test_a_domain_that_no_profile_knows_is_judged_by_script_alone():
    assert lint(CODE, domain="prose").verdict == "clean"


def test_profiles_of_a_run_take_the_place_of_those_that_are_shipped():
    profiles = {"novel": Profile.learn([PROSE] * 9), "program": Profile.learn([CODE])}
    assert nearest(CODE, profiles)[0] == "program"
    assert lint(CODE, domain="novel", profiles=profiles).kind == "wrong_domain"


def test_tags_are_markup_in_prose_and_at_home_in_code():
    page = "".join(f'<p class="big" id="{word}"><b>{word}</b></p>' for word in set(PROSE.split()))
    assert lint(page, domain="en").kind == "markup"
    assert lint(page, domain="code").kind != "markup"
