"""What is said of a panel's numbers: no more than they tell, in two languages."""

import math

import pytest

from steadytrain import panel_words as words
from steadytrain import perplexity
from steadytrain.events import RemedyDone
from steadytrain.stats.paired import change, interval
from tests import looks as made
from tests.samples import began


def spread(count, size):
    return [2.0 + size * (-1) ** index for index in range(count)]


def view(events):
    return perplexity.view(perplexity.gather(events))


def test_too_few_sequences_say_what_they_tell_and_how_many_are_needed():
    said = words.weak_words("en", interval(spread(67, 0.37)), "en")
    assert said.startswith("en: 67 sequences tell +-9.")
    assert "22" in said
    assert said.endswith("are needed for +-5 %.")
    assert "需要" in words.weak_words("en", interval(spread(67, 0.37)), "zh")


def test_enough_sequences_are_no_matter_for_a_sentence():
    assert words.weak_words("en", interval(spread(2000, 0.37)), "en") is None


def test_one_sequence_and_a_loss_that_is_no_number_need_no_arithmetic():
    assert "1 sequence cannot" in words.weak_words("en", interval([2.0]), "en")
    assert "cannot give" in words.weak_words("en", interval([2.0, math.nan]), "en")


def test_twenty_alike_sequences_are_still_too_few():
    said = words.weak_words("en", interval(spread(20, 0.01)), "en")
    assert said == "en: 20 sequences are too few to trust their spread; 30 are the least."


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_what_would_have_been_found_is_a_number(lang):
    moved = change([0.0] * 200, [x - 2.0 for x in spread(200, 0.12)])
    assert "2.4 %" in words.power_words("zh", moved, 300, lang)


def test_a_limit_that_no_sequences_lift_is_said_once_for_all_domains():
    def jumping(step):
        return 2.0 + 0.02 * (-1) ** (step // 100)

    found = view(made.run(("zh", "en"), (jumping, jumping), range(0, 2000, 100)))
    said = [one for one in words.remarks(found, "en") if "more sequences will not" in one]
    assert len(said) == 1
    assert said[0].startswith("zh, en: ")
    assert any("抖动" in one for one in words.remarks(found, "zh"))


def test_gaps_versions_and_what_was_given_up_are_named():
    events = [
        began(("zh", "fr")),
        made.drawn([200, 0], notes=("The panel of zh has 9 sequences.",)),
        made.look(0, [2.0, None]),
        made.look(100, [2.0, None]),
        RemedyDone(remedy="remedy-1", attempt=1, step=50, restored_step=50),
        made.drawn([200, 0], version=2, why="cleaner text"),
        made.look(120, [2.0, None], version=2),
    ]
    said = "\n".join(words.remarks(view(events), "en"))
    assert "fr has no sequences" in said
    assert "replaced after step 0 by version 2 (cleaner text)" in said
    assert "1 look that a rollback gave up is left out" in said
    assert "第 2 版（cleaner text）" in "\n".join(words.remarks(view(events), "zh"))


def test_changes_are_shares_of_perplexity_and_large_ones_factors():
    assert words.percent(math.log(1.05)) == "+5.0 %"
    assert words.percent(-0.693147) == "-50.0 %"
    assert words.percent(math.log(40.0)) == "x40"
    assert words.percent(math.nan) == "?"


def test_thirteen_weak_domains_are_twelve_and_one():
    names = tuple(f"d{index}" for index in range(13))
    found = view([began(names), made.look(0, [2.0] * 13, count=29)])
    said = words.remarks(found, "en")
    assert sum("are needed" in one or "too few" in one for one in said) == 12
    assert any("1 more like these" in one for one in said)
