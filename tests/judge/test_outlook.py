"""The panel through a run: rightly named, never named without its evidence, and followed up."""

import math

import msgspec
import pytest

from steadytrain import causes
from steadytrain.events import Advice, PanelDrawn, PanelRecord
from steadytrain.judge.looks import MARKS, Looks, rewound
from tests.judge.voyage import DOMAINS, Voyage


@pytest.fixture
def calm():
    voyage = Voyage().sail(12)
    assert voyage.said == []
    return voyage


def test_an_undisturbed_run_is_left_alone():
    for seed in range(3):
        assert Voyage(seed=seed).sail(60).said == []


def test_a_domain_that_lost_its_share_and_rises_is_starved(calm):
    calm.weights = {"zh": 2, "en": 14, "code": 16}
    calm.sail(3, zh=0.03, en=-0.005, code=-0.005)
    (told,) = calm.trends()
    assert (told.pattern, told.domains) == (causes.STARVED, ("zh",))
    assert told.is_expected
    assert told.begun == 1240
    assert any("from 31% to 6%" in one for one in told.evidence)
    assert {move.domain for move in told.moves} == set(DOMAINS)


def test_starved_comes_true_if_it_stays_up_and_its_worth_is_told(calm):
    calm.weights = {"zh": 2, "en": 14, "code": 16}
    calm.sail(3, zh=0.03).sail(6)
    assert calm.names("came true") == [(causes.STARVED, ("zh",))]
    (advice,) = [one for one in calm.said if isinstance(one, Advice)]
    assert "zh: d loss / d ln(share) -0.0" in advice.text


def test_starved_did_not_come_true_if_it_comes_back(calm):
    calm.weights = {"zh": 2, "en": 14, "code": 16}
    calm.sail(3, zh=0.03).sail(5, zh=-0.03)
    assert calm.names("did not") == [(causes.STARVED, ("zh",))]


def test_a_domain_whose_share_rose_and_that_falls_is_being_learned(calm):
    calm.weights = {"zh": 24, "en": 4, "code": 4}
    calm.sail(3, zh=-0.03)
    assert calm.names() == [(causes.LEARNING, ("zh",))]


def test_old_domains_up_and_a_new_one_steeply_down_is_a_stability_gap():
    voyage = Voyage()
    voyage.weights = {"zh": 0, "en": 16, "code": 16}
    voyage.sail(12)
    voyage.weights = {"zh": 10, "en": 11, "code": 11}
    voyage.shift["zh"] = -0.5
    voyage.sail(3, en=0.04, code=0.03)
    assert (causes.STABILITY_GAP, ("en", "code")) in voyage.names()
    assert (causes.LEARNING, ("zh",)) in voyage.names()
    assert len(voyage.names()) == 2


def test_a_stability_gap_that_turns_comes_true():
    voyage = Voyage()
    voyage.weights = {"zh": 0, "en": 16, "code": 16}
    voyage.sail(12)
    voyage.weights = {"zh": 10, "en": 11, "code": 11}
    voyage.shift["zh"] = -0.5
    voyage.sail(3, en=0.04, code=0.04).sail(4, en=-0.02, code=-0.02)
    assert (causes.STABILITY_GAP, ("en", "code")) in voyage.names("came true")


def test_a_stability_gap_that_goes_on_rising_did_not():
    voyage = Voyage()
    voyage.weights = {"zh": 0, "en": 16, "code": 16}
    voyage.sail(12)
    voyage.weights = {"zh": 10, "en": 11, "code": 11}
    voyage.shift["zh"] = -0.5
    voyage.sail(16, en=0.04, code=0.04)
    assert (causes.STABILITY_GAP, ("en", "code")) in voyage.names("did not")


def test_all_up_after_the_learning_rate_rose_is_a_rewarm_bump(calm):
    calm.lr = 4e-3
    calm.sail(3, zh=0.03, en=0.03, code=0.03)
    (told,) = calm.trends()
    assert told.pattern == causes.REWARM
    assert set(told.domains) == set(DOMAINS)
    assert "rose from 0.001 to 0.004" in told.evidence[0]
    assert told.refuted_by


def test_all_down_faster_while_the_rate_falls_is_annealing(calm):
    for _ in range(4):
        calm.lr *= 0.8
        calm.sail(1, zh=-0.03, en=-0.03, code=-0.03)
    assert calm.names() == [(causes.ANNEALING, DOMAINS)]


def test_a_domain_up_whose_texts_are_corrupt_names_the_source(calm):
    calm.corrupt["zh"] = 5
    calm.sail(3, zh=0.04)
    (told,) = calm.trends()
    assert (told.pattern, told.domains, told.is_expected) == (
        causes.CORRUPT_SOURCE, ("zh",), False,
    )  # fmt: skip


def test_corrupt_texts_alone_move_no_panel_and_are_named_nothing(calm):
    calm.corrupt["zh"] = 5
    calm.sail(6)
    assert (calm.alarms(), calm.trends()) == ([], [])


def test_a_domain_down_whose_panel_is_read_in_training_is_leaked(calm):
    calm.leaked["zh"] = 3
    calm.sail(3, zh=-0.04)
    (told,) = calm.trends()
    assert (told.pattern, told.is_expected) == (causes.LEAKED, False)
    assert "hold text of the panel" in " ".join(told.evidence)


def test_a_panel_down_beside_its_training_is_leaked_though_no_text_was_found():
    voyage = Voyage()
    voyage.leaked = dict.fromkeys(DOMAINS, 0)
    voyage.sail(12).sail(4, zh=-0.06)
    assert voyage.names()[-1] == (causes.LEAKED, ("zh",))
    assert voyage.trends()[-1].against == ("no text of the panel was seen in the training data",)


def test_a_panel_down_with_its_training_is_not_leaked(calm):
    calm.train["zh"] = -0.3
    calm.sail(4, zh=-0.06)
    assert [name for name, _ in calm.names()] == [causes.NOT_KNOWN]


def test_all_up_with_steeper_gradients_and_nothing_else_is_unstable(calm):
    calm.norm = 2.0
    calm.sail(3, zh=0.04, en=0.04, code=0.04)
    assert calm.names() == [(causes.UNSTABLE, DOMAINS)]


def test_all_up_with_gradients_as_before_is_not_known(calm):
    calm.sail(4, zh=0.04, en=0.04, code=0.04)
    assert {name for name, _ in calm.names()} == {causes.NOT_KNOWN}
    assert not any(one.is_expected for one in calm.trends())


def test_one_domain_up_for_no_reason_is_not_known_and_says_what_was_ruled_out(calm):
    calm.sail(4, zh=0.05)
    (told,) = calm.trends()
    assert (told.pattern, told.expected, told.due) == (causes.NOT_KNOWN, "", None)
    assert "the learning rate did not turn" in told.evidence


def test_what_was_not_known_gives_way_to_what_is_seen_later(calm):
    calm.sail(4, zh=0.05)
    calm.corrupt["zh"] = 5
    calm.sail(3)
    assert calm.names("gave way") == [(causes.NOT_KNOWN, ("zh",))]
    assert calm.names()[-1] == (causes.CORRUPT_SOURCE, ("zh",))


def test_training_up_and_panel_flat_is_harder_batches(calm):
    calm.train["en"] = 0.5
    calm.sail(3)
    assert calm.names() == [(causes.HARDER_BATCHES, ("en",))]
    calm.sail(5)
    assert calm.names("came true") == [(causes.HARDER_BATCHES, ("en",))]


def test_an_alarm_cites_the_panel_of_its_domain_and_rings_once(calm):
    calm.weights = {"zh": 2, "en": 14, "code": 16}
    calm.sail(5, zh=0.04)
    mine = [one for one in calm.alarms() if one.signal == "panel:zh"]
    assert len(mine) == 1
    assert (mine[0].direction, mine[0].value > mine[0].expected) == ("rise", True)


def test_a_loss_that_is_not_finite_alarms_once_and_is_not_learned(calm):
    course = calm.looks.course
    calm.shift["zh"] = math.nan
    calm.sail(2)
    (alarm,) = calm.alarms()
    assert (alarm.direction, alarm.signal) == ("not finite", "panel:zh")
    assert calm.looks.course == course


def test_while_an_incident_is_treated_nothing_is_said_of_the_panel(calm):
    calm.is_treated = True
    calm.sail(4, zh=0.1)
    assert calm.said == []


def test_a_rollback_forgets_the_looks_of_what_was_given_up(calm):
    before = calm.looks
    calm.sail(4, zh=0.05)
    back = rewound(calm.looks, before.marks[-1].step)
    assert back.marks == before.marks
    assert back.course.steps == before.course.steps
    assert back.open == ()
    assert rewound(calm.looks, 10**9).marks == calm.looks.marks


def test_looks_of_another_version_are_compared_with_nothing_before(calm):
    calm.looks = calm.outlook.redraw(
        calm.looks,
        PanelDrawn(attempt=1, step=calm.step, digest="d", lengths=((1,),), version=2, why="w"),
    )
    calm.shift = dict.fromkeys(DOMAINS, 0.7)
    calm.step += 1
    calm.look(version=1)
    assert calm.looks.marks == ()
    calm.look(version=2)
    assert (len(calm.looks.marks), calm.said) == (1, [])


def test_what_a_run_learns_first_is_no_part_of_its_curve():
    voyage = Voyage(is_branch=False).sail(9)
    assert (voyage.looks.course.steps, len(voyage.looks.marks)) == ((), 9)
    voyage.sail(2)
    assert voyage.looks.course.steps == (200, 220)


def test_a_look_that_a_restart_repeats_is_not_judged_again(calm):
    before = calm.looks
    calm.look()
    assert calm.looks == before


def test_a_domain_that_is_not_in_the_panel_is_a_gap():
    voyage = Voyage()
    losses = ((2.0, 2.1), (), (1.0, 1.2))
    for step in range(1020, 1300, 20):
        told = PanelRecord(
            attempt=1, step=step, nll=(4.1, 0.0, 2.2), tokens=(2, 0, 2), bytes=(2, 0, 2),
            losses=losses,
        )  # fmt: skip
        voyage.looks, said = voyage.outlook.look(voyage.looks, told, DOMAINS, is_treated=False)
        assert said == ()
    assert len(voyage.looks.course.losses[0]) == 2


def test_the_memory_is_bounded_and_survives_the_journal(calm):
    calm.sail(90)
    assert len(calm.looks.marks) <= MARKS
    assert len(calm.looks.wholes) <= 6
    again = msgspec.convert(msgspec.json.decode(msgspec.json.encode(calm.looks)), Looks)
    assert again == calm.looks


def test_thinning_drops_no_update(calm):
    calm.sail(90)
    assert sum(one.since.steps for one in calm.looks.marks) == calm.step - calm.begin


class TestTheBeginningOfABranch:
    def test_a_rise_after_the_rate_rose_needs_no_curve(self):
        voyage = Voyage()
        voyage.look()
        voyage.lr = 1e-4
        for at in range(20):
            voyage.lr = 1e-4 * (1 + at)
            voyage.update()
        voyage.shift = dict.fromkeys(DOMAINS, 0.2)
        voyage.look()
        voyage.sail(2, zh=0.05, en=0.05, code=0.05)
        assert voyage.names() == [(causes.REWARM, DOMAINS)]

    def test_a_domain_that_falls_as_if_it_were_new_makes_it_a_stability_gap(self):
        voyage = Voyage()
        voyage.look()
        for at in range(20):
            voyage.lr = 1e-4 * (1 + at)
            voyage.update()
        voyage.shift = {"zh": -0.6, "en": 0.2, "code": 0.2}
        voyage.look()
        assert (causes.STABILITY_GAP, ("en", "code")) in voyage.names()
