"""A run's panel in numbers, from its journal."""

import math

import numpy as np
import pytest

from steadytrain import perplexity
from steadytrain.errors import JournalError, SettingError
from steadytrain.events import RemedyDone
from steadytrain.stats.jitter import FLOOR
from tests import looks as made
from tests.samples import began, record


def falling(level):
    return lambda step: level + 2.0 / (1 + step / 100)


STEPS = range(0, 1001, 100)


@pytest.fixture
def kept():
    return perplexity.gather(made.run(("zh", "en"), (falling(3.0), falling(2.0)), STEPS))


def reading(view, name):
    return next(one for one in view.readings if one.node.name == name)


def test_the_newest_look_is_compared_with_the_first_and_the_one_before(kept):
    found = perplexity.view(kept)
    assert (found.record.step, found.against.step, found.before.step) == (1000, 0, 900)
    zh = reading(found, "zh")
    assert zh.interval.loss == pytest.approx(falling(3.0)(1000))
    assert zh.since.mean == pytest.approx(falling(3.0)(1000) - falling(3.0)(0))
    assert zh.last.mean == pytest.approx(falling(3.0)(1000) - falling(3.0)(900))


def test_any_step_can_be_asked_for_and_the_future_is_not_known_there(kept):
    found = perplexity.view(kept, step=500, against=300)
    assert (found.record.step, found.against.step, found.before.step) == (500, 300, 400)
    assert [one.step for one in found.past] == [0, 100, 200, 300, 400, 500]


def test_a_step_without_a_look_names_those_that_have_one(kept):
    with pytest.raises(SettingError, match=r"--step 450: .* 400, 500"):
        perplexity.view(kept, step=450)
    with pytest.raises(SettingError, match="--against 7: "):
        perplexity.view(kept, against=7)


def test_the_whole_is_its_texts_together_and_bits_count_original_bytes(kept):
    found = perplexity.view(kept)
    last = found.record
    whole = reading(found, "all")
    assert whole.interval.loss == pytest.approx(sum(last.nll) / sum(last.tokens))
    assert whole.bits == pytest.approx(sum(last.nll) / math.log(2) / sum(last.bytes))
    assert whole.bits_low < whole.bits < whole.bits_high


def test_lengths_on_record_weigh_the_sequences():
    events = [
        began(("zh",)),
        made.drawn([2]),
        perplexity.PanelRecord(
            attempt=1, step=0, nll=(60.0,), tokens=(40,), bytes=(80,), losses=((1.0, 3.0),)
        ),
    ]
    events[1] = made.PanelDrawn(attempt=1, step=0, digest="d", lengths=((30, 10),))
    found = perplexity.view(perplexity.gather(events))
    assert found.readings[0].interval.loss == pytest.approx(1.5)


def test_a_rollback_takes_back_the_looks_of_its_trajectory():
    events = made.run(("zh",), (falling(2.0),), [0, 100, 200])
    events.append(RemedyDone(remedy="remedy-1", attempt=1, step=150, restored_step=150))
    events.append(made.look(160, [2.5]))
    kept = perplexity.gather(events)
    assert [one.step for one in kept.records] == [0, 100, 160]
    assert kept.given_up == 1


def test_a_remedy_without_a_rollback_takes_nothing_back():
    events = made.run(("zh",), (falling(2.0),), [0, 100])
    events.append(RemedyDone(remedy="remedy-1", attempt=1, step=50))
    assert len(perplexity.gather(events).records) == 2


def test_looks_at_another_version_are_not_compared():
    events = made.run(("zh",), (falling(2.0),), [0, 100])
    events += [
        made.drawn([50], version=2, why="new text"),
        made.look(100, [2.2], version=2, count=50),
    ]
    kept = perplexity.gather(events)
    found = perplexity.view(kept)
    assert found.record.version == 2
    assert found.against is None
    assert found.readings[0].since is None
    assert (
        len(perplexity.gather([*events, made.look(200, [2.1], version=2, count=50)]).version(2))
        == 2
    )


def test_a_domain_without_sequences_is_a_gap():
    events = [began(("zh", "fr")), made.look(0, [2.0, None]), made.look(10, [2.0, None])]
    found = perplexity.view(perplexity.gather(events))
    gap = reading(found, "fr")
    assert gap.state == "absent"
    assert gap.interval is None
    assert [one.node.name for one in found.readings] == ["zh", "fr"]


def test_a_loss_that_is_no_number_is_neither_hidden_nor_spread_to_others():
    bad = made.look(10, [2.0, 3.0])
    losses = (bad.losses[0], (math.nan, *bad.losses[1][1:]))
    bad = perplexity.PanelRecord(
        attempt=1,
        step=10,
        nll=(bad.nll[0], math.nan),
        tokens=bad.tokens,
        bytes=bad.bytes,
        losses=losses,
    )
    found = perplexity.view(perplexity.gather([began(("zh", "en")), made.look(0, [2.0, 3.0]), bad]))
    states = {one.node.name: one.state for one in found.readings}
    assert states == {"all": "not finite", "zh": "good", "en": "not finite"}
    assert reading(found, "en").unfit == 1


def test_few_sequences_and_a_wide_interval_are_told_apart():
    events = [began(("zh",)), made.look(0, [2.0], count=29, spread=0.01)]
    assert perplexity.view(perplexity.gather(events)).readings[0].state == "few"
    events = [began(("zh",)), made.look(0, [2.0], count=60, spread=0.5)]
    assert perplexity.view(perplexity.gather(events)).readings[0].state == "wide"


def test_the_jitter_is_estimated_once_there_are_eight_looks():
    def jumping(step):
        return 2.0 + 0.02 * (-1) ** (step // 100)

    few = perplexity.view(perplexity.gather(made.run(("zh",), (jumping,), range(0, 700, 100))))
    assert not few.readings[0].knows_jitter
    assert few.readings[0].last.jitter == FLOOR
    many = perplexity.view(perplexity.gather(made.run(("zh",), (jumping,), range(0, 2000, 100))))
    assert many.readings[0].knows_jitter
    assert many.readings[0].last.jitter > 0.02


def test_training_between_two_looks_stands_beside_the_panel():
    events = made.run(("zh", "en"), (falling(3.0), falling(2.0)), [0])
    events += [record(step, (3.0, 1.0)) for step in (1, 2)]
    events += [made.look(2, [3.1, 1.2]), record(3, (9.0, 9.0))]
    found = perplexity.view(perplexity.gather(events))
    assert reading(found, "zh").training.loss == pytest.approx(3.0)
    assert reading(found, "all").training.loss == pytest.approx(2.0)


def test_a_tree_of_domains_has_both_averages():
    names = ("zh/news", "zh/wiki", "code")
    kept = perplexity.gather([began(names), made.look(0, [1.0, 2.0, 5.0])])
    found = perplexity.view(kept)
    assert [one.node.name for one in found.readings] == ["all", "zh", "zh/news", "zh/wiki", "code"]
    assert reading(found, "all").interval.loss == pytest.approx(8 / 3)
    assert reading(found, "all").macro.loss == pytest.approx((1.5 + 5.0) / 2)
    assert reading(found, "code").macro is None


def test_the_series_of_a_node_has_its_gaps():
    events = [began(("zh", "en")), made.look(0, [2.0, None]), made.look(10, [2.0, 3.0])]
    found = perplexity.view(perplexity.gather(events))
    values = perplexity.series(found, reading(found, "en").node)
    assert values[0] is None
    assert values[1].loss == pytest.approx(3.0)


def test_a_run_without_a_look_says_so(tmp_path):
    with pytest.raises(SettingError, match="no look at a panel"):
        perplexity.view(perplexity.gather([began(("zh",))]))
    with pytest.raises(JournalError, match="no panel to show"):
        perplexity.read(tmp_path)


def test_five_hundred_domains_and_twenty_looks_take_seconds():
    names = tuple(f"a{index % 20}/b{index}" for index in range(500))
    means = np.linspace(1.5, 3.0, 500).tolist()
    events = [began(names), *[made.look(step, means, count=30) for step in range(0, 2000, 100)]]
    found = perplexity.view(perplexity.gather(events))
    assert len(found.readings) == 1 + 20 + 500
