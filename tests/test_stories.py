"""Explanations in words: what, how far, what is expected, what became of it; in both languages."""

import msgspec
import pytest

from steadytrain import causes
from steadytrain.events import PanelDrawn, Trend
from steadytrain.phrases import phrase
from steadytrain.stories import drawn_words, stories, story_lines, trend_words
from steadytrain.wording import sentence
from tests.samples import EVERY_KIND

SAID = next(one for one in EVERY_KIND if isinstance(one, Trend))
ENDED = msgspec.structs.replace(SAID, state="came true", step=600, evidence=("still up",))


def test_an_explanation_tells_its_movement_with_the_interval_and_what_is_next():
    words = trend_words(SAID)
    assert "starved domain (zh; expected)" in words
    assert "zh +0.250 nats (+0.200 to +0.300) against step 300" in words
    assert "it stays" in words


def test_one_that_is_not_expected_asks_for_a_look():
    assert "look at it" in trend_words(msgspec.structs.replace(SAID, is_expected=False))


def test_a_later_state_is_told_with_its_reason():
    assert trend_words(ENDED) == "step 600: trend-1, starved domain (zh), came true: still up"


def test_a_story_joins_what_was_said_with_what_became_of_it():
    other = msgspec.structs.replace(SAID, id="trend-2")
    first, second = stories([SAID, other, ENDED])
    assert (first.state, second.state) == ("came true", "explained")
    assert story_lines(first)[-1] == trend_words(ENDED)
    assert story_lines(second)[-1] == "open until step 600"
    assert "refuted by: it falls" in story_lines(second)


@pytest.mark.parametrize("pattern", causes.PATTERNS)
def test_every_pattern_has_a_chinese_name(pattern):
    assert phrase(pattern, "zh") != pattern


@pytest.mark.parametrize("event", [SAID, ENDED], ids=["explained", "came true"])
def test_a_trend_is_told_as_it_happens_in_both_languages(event):
    assert sentence(event) == trend_words(event)
    assert sentence(event, lang="zh").startswith(f"第 {event.step} 步：trend-1")


def test_a_panel_is_told_with_its_sizes_and_a_new_one_with_its_reason():
    drawn = PanelDrawn(attempt=1, step=0, digest="d", lengths=((5, 5), (5,)), notes=("a note",))
    assert drawn_words(drawn, ("zh", "en")) == (
        "step 0: the panel holds zh 2, en 1 sequences; a note"
    )
    newer = msgspec.structs.replace(drawn, version=2, why="a new tokenizer", step=40)
    assert "replaced (a new tokenizer)" in sentence(newer, domains=("zh", "en"))
    assert "第 2 版" in sentence(newer, lang="zh", domains=("zh", "en"))
