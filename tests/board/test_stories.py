"""Glances, stories and pages of runs as plain data."""

import json
import math

import pytest

from steadytrain import actions as ac
from steadytrain import events as ev
from steadytrain import perplexity
from steadytrain.board.cases import incident, standing
from steadytrain.board.corpus import Counts, corpus, lints
from steadytrain.board.glance import glance
from steadytrain.board.lane import marks
from steadytrain.board.library import Library
from steadytrain.board.looks import looks
from steadytrain.board.machines import machines
from steadytrain.board.stories import lines, tone
from steadytrain.corpora import linting
from steadytrain.stints import PARTS
from tests.board.rig import Writer, began, start, step, write_incident, write_run
from tests.samples import EVERY_KIND


def read(root, name="r1"):
    library = Library([root])
    library.read_all()
    return library.runs[name]


def plain(told):
    """As a browser gets it: no NaN, nothing that JSON has no word for."""
    return json.loads(json.dumps(told, allow_nan=False))


ROLLBACK = ev.Remedy(
    id="remedy-1", incident="incident-1", step=39, due=41, rung=0, cause="bad text",
    plan=(ac.RollBack(to_step=35), ac.SkipDraws(ranges=((300, 304),), from_step=35)), why="mild",
)  # fmt: skip


def healed(tmp_path):
    writer = write_incident(tmp_path / "r1")
    writer.add(
        ROLLBACK,
        ev.RemedyDone(remedy="remedy-1", attempt=1, step=35, restored_step=34, source="snapshot"),
        ev.AttemptBegan(attempt=2, step=35, draw=280, cause="rollback", remedy="remedy-1"),
        *(step(at, attempt=2) for at in range(36, 60)),
        ev.Outcome(incident="incident-1", remedy="remedy-1", step=55, result="cured", steps=17,
                   loss_before=2.0, loss_peak=9.0, loss_after=2.0, panel_before=(2.0, 2.1),
                   panel_after=(1.9, 2.0)),
        ev.Incident(id="incident-1", change="closed", attempt=2, step=55, onset=37,
                    signals=("loss:zh",), directions=("rise",), score=31.0, reason="cured"),
    )  # fmt: skip
    return read(tmp_path)


class TestAGlance:
    def test_tells_where_a_run_is(self, tmp_path):
        write_run(tmp_path / "r1", 30)
        told = plain(glance(read(tmp_path)))
        assert (told["step"], told["steps"], told["tokens"]) == (30, 1000, 12_000)
        assert told["eta_seconds"] == 970.0
        assert told["tokens_per_second"] == 400.0
        assert told["state"] == "training"

    @pytest.mark.parametrize(
        ("last", "state"),
        [
            ((ev.RunEnded(attempt=1, step=20),), "ended"),
            ((ev.JudgingEnded(step=20, reason="a bug"),), "unguarded"),
            ((ev.GiveUp(generation=3, cause="crashed", why="too often"),), "gave up"),
            ((ev.GiveUp(generation=3, cause="crashed", why="x"), ev.Restart(generation=4, cause="killed", wait_seconds=1.0, why="y")), "training"),
        ],
    )  # fmt: skip
    def test_tells_the_state(self, tmp_path, last, state):
        writer = write_run(tmp_path / "r1", 20)
        writer.add(*last)
        assert glance(read(tmp_path))["state"] == state

    def test_an_open_incident_is_told_with_its_cause(self, tmp_path):
        write_incident(tmp_path / "r1")
        told = glance(read(tmp_path))
        assert told["state"] == "incident"
        assert told["open"][0]["cause"] == {
            "en": "bad text (blank, zh)",
            "zh": "坏文本（空白、zh）",
        }

    def test_a_proposal_waits_for_a_person(self, tmp_path):
        writer = write_incident(tmp_path / "r1", mode="ask")
        writer.add(ev.Proposal(id="remedy-1", incident="incident-1", step=39, rung=0,
                               cause="bad text", plan=ROLLBACK.plan, why="mild"))  # fmt: skip
        one = read(tmp_path)
        assert glance(one)["state"] == "waiting"
        (proposal,) = plain(standing(one, "zh"))["proposals"]
        assert proposal["plan"] == "回滚到第 35 步；剔除 4 条序列"
        assert proposal["order"].startswith("roll back 35; skip draws 300-303")

    def test_the_account_adds_up_to_the_wall_clock(self, tmp_path):
        account = glance(healed(tmp_path))["account"]
        assert set(account["parts"]) == set(PARTS)
        assert sum(account["parts"].values()) == pytest.approx(account["wall"])
        assert account["parts"]["repeated"] == 5.0

    def test_changes_with_the_journal(self, tmp_path):
        writer = write_run(tmp_path / "r1", 5)
        one = read(tmp_path)
        assert glance(one)["step"] == 5
        writer.add(step(6))
        one.catch_up(seconds=9)
        assert glance(one)["step"] == 6


class TestAnIncident:
    def test_has_its_story_in_order(self, tmp_path):
        told = plain(incident(healed(tmp_path), "incident-1", "en"))
        kinds = [line["kind"] for line in told["story"]]
        assert kinds == [
            "Alarm",
            "Incident",
            "Diagnosis",
            "Remedy",
            "RemedyDone",
            "Outcome",
            "Incident",
        ]
        assert (told["state"], told["onset"], told["closed"]["step"]) == ("cured", 37, 55)

    def test_shows_what_speaks_for_and_against_each_cause(self, tmp_path):
        first, second = incident(healed(tmp_path), "incident-1", "en")["diagnoses"][0]["causes"]
        assert (first["for"], first["refuted_by"]) == (["8 of 8 are corrupt"], "clean text")
        assert second["against"] == ["another batch is healthy"]

    def test_shows_the_remedy_with_its_before_and_after(self, tmp_path):
        (remedy,) = plain(incident(healed(tmp_path), "incident-1", "en")["remedies"])
        assert remedy["state"] == "done"
        assert remedy["deed"]["restored"] == 34
        assert remedy["outcome"]["losses"] == [2.0, 9.0, 2.0]
        assert remedy["outcome"]["panel"] == [["zh", 2.0, 1.9], ["en", 2.1, 2.0]]

    def test_that_is_not_there_is_an_error(self, tmp_path):
        with pytest.raises(KeyError):
            incident(healed(tmp_path), "incident-7", "en")


class TestTheLane:
    def test_has_spans_remedies_and_returns(self, tmp_path):
        told = plain(marks(healed(tmp_path)))
        (span,) = told["incidents"]
        assert (span["x"], span["until"]["x"], span["state"]) == (37, 55, "cured")
        (remedy,) = told["remedies"]
        assert (remedy["result"], remedy["done"]) == ("cured", True)
        (back,) = told["returns"]
        assert (back["x"], back["from"], back["cause"]) == (35, 40, "rollback")

    def test_a_change_of_the_mixture_is_found_and_noise_is_none(self, tmp_path):
        writer = Writer(tmp_path / "r1")
        writer.add(began(), start())
        for at in range(1, 897):
            shift = (0, 200) if at > 512 else (7 * (at % 5), 0)
            writer.add(step(at, tokens=(100 + shift[0], 300 + shift[1])))
        (change,) = marks(read(tmp_path))["changes"]
        assert change["what"] == "mixture"
        assert abs(change["x"] - 513) <= 1


def test_every_event_can_be_told_in_both_languages(tmp_path):
    for at, event in enumerate(EVERY_KIND):
        writer = write_run(tmp_path / f"r{at}", 3)
        if not isinstance(event, ev.RunBegan | ev.StepRecord):
            writer.add(event)
        one = read(tmp_path, f"r{at}")
        for lang in ("en", "zh"):
            for page in (lines(one, lang), marks(one), glance(one), standing(one, lang)):
                plain(page)
            for page in (looks(one, lang), machines(one, lang), corpus(one, Counts(), lang)):
                plain(page)
        assert tone(event) in ("good", "bad", "warn", "act", "person", "plain")


def test_the_panel_is_told_with_intervals_and_given_up_looks_apart(tmp_path):
    writer = write_run(tmp_path / "r1", 10)

    def look(at, losses, attempt=1):
        return ev.PanelRecord(attempt=attempt, step=at, nll=(sum(losses), 4.0), tokens=(len(losses), 4),
                              bytes=(9, 9), losses=(losses, (1.0, 1.0)))  # fmt: skip

    writer.add(
        look(0, (2.0, 2.2, math.nan)), look(8, (9.0, 9.0)),
        ev.AttemptBegan(attempt=2, step=5, draw=40, cause="rollback"), look(8, (1.9, 2.1), attempt=2),
    )  # fmt: skip
    told = plain(looks(read(tmp_path), "en"))
    first, second = told["domains"][0]["looks"]
    assert (first["odd"], first["n"]) == (1, 3)
    assert first["low"] < first["ppl"] < first["high"]
    assert second["ppl"] == pytest.approx(math.exp(2.0))
    assert told["lost"][0]["ppl"][0] == pytest.approx(math.exp(9.0))


def test_the_board_shows_the_interval_that_the_command_prints(tmp_path):
    writer = write_run(tmp_path / "r1", 10)
    losses = tuple(2.0 + 0.1 * (at % 7) for at in range(12))
    lengths = tuple(range(4, 16))
    nll = sum(loss * length for loss, length in zip(losses, lengths, strict=True))
    writer.add(
        ev.PanelDrawn(attempt=1, step=0, digest="d", lengths=(lengths, (2, 2))),
        ev.PanelRecord(attempt=1, step=4, nll=(nll, 4.0), tokens=(sum(lengths), 4), bytes=(99, 9),
                       losses=(losses, (1.0, 1.0))),
    )  # fmt: skip
    shown = plain(looks(read(tmp_path), "en"))["domains"][0]["looks"][0]
    leaf = next(
        one
        for one in perplexity.view(perplexity.read(tmp_path / "r1")).readings
        if one.node.is_leaf
    )
    assert shown["loss"] == pytest.approx(nll / sum(lengths))
    assert leaf.interval is not None
    ours = leaf.interval
    assert (shown["low"], shown["high"]) == (ours.perplexity_low, ours.perplexity_high)


def test_machines_tell_deaths_and_hangs(tmp_path):
    write_run(tmp_path / "r1", 5)
    writer = Writer(tmp_path / "r1", "supervisor")
    writer.add(
        ev.WorkersStarted(generation=0, pids=(11,)),
        ev.ProcessExited(generation=0, rank=0, pid=11, hung=True, phase="forward", silent_seconds=70.0, step=3),
        ev.Restart(generation=1, cause="hung", wait_seconds=1.0, why="it hung"),
        ev.WorkersStarted(generation=1, pids=(12,)),
    )  # fmt: skip
    stacks = tmp_path / "r1" / "stacks"
    stacks.mkdir()
    (stacks / "rank0.txt").write_text("File x, line 3 in forward")
    told = plain(machines(read(tmp_path), "en"))
    assert [life["number"] for life in told["generations"]] == [0, 1]
    assert told["generations"][0]["causes"][0]["how"] == "hung"
    assert told["stacks"][0]["text"] == "File x, line 3 in forward"
    assert told["ranks"][0]["exits"] == 1


def test_the_data_page_tells_sources_exclusions_and_lints(tmp_path):
    one = healed(tmp_path)
    told = plain(corpus(one, Counts(), "en"))
    assert told["sources"][0]["name"] == "a/b.txt"
    assert told["left_out"][0]["sequences"] == 4
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "bad.txt").write_text("\n" * 400)
    linting.run(linting.Settings(paths=(str(texts),), out=tmp_path / "lint"))
    (lint,) = plain(lints([tmp_path], "en"))
    assert (lint["name"], lint["corrupt"]) == ("lint", 1)
