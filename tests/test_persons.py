"""`steadytrain remedy`: what is proposed and in force, and a person's word, refused in clear words."""

import json

import msgspec
import pytest

from steadytrain import actions as ac
from steadytrain import cli, control, journal
from steadytrain import events as ev
from steadytrain.errors import SettingError
from steadytrain.journal import Journal
from steadytrain.persons import Answer
from steadytrain.standing import Standing, look
from tests.samples import began, record

PLAN = (ac.RollBack(to_step=40), ac.SkipDraws(ranges=((1300, 1400),), from_step=40))
CAUSE = ev.Cause(name="bad text", confidence=0.93, evidence=("11 of 12 are garbled",), domain="zh")


def opened(name="incident-1", change="opened"):
    return ev.Incident(
        id=name,
        change=change,
        attempt=1,
        step=45,
        onset=44,
        signals=("loss:zh",),
        directions=("rise",),
        score=9.0,
    )


def proposed(name="remedy-2", incident="incident-1", plan=PLAN):
    return ev.Proposal(
        id=name, incident=incident, step=46, rung=0, cause="bad text", plan=plan, why="it is bad"
    )


def given(name, plan, *, due=20):
    return ev.Remedy(
        id=name, incident="incident-0", step=due - 2, due=due, rung=0, cause="c", plan=plan, why="w"
    )


def said(verb, **fields):
    return ev.PersonSaid(**{"id": verb, "who": "ada", "verb": verb, "step": 46} | fields)


def write_run(home, *later, steps=1000, mode="ask", can=None, world=1):
    with Journal(home, "rank0") as book:
        book.append(
            ev.RunBegan(
                run="r1",
                recipe={"treatment": {"mode": mode}},
                domains=("zh", "en"),
                model="m",
                parameters=7,
                world=world,
                draws_per_step=32,
                steps=steps,
                can=can,
            )
        )
        book.append(ev.AttemptBegan(attempt=1, step=0, draw=0, cause="start"))
        for step in range(1, 51):
            book.append(record(step, (2.0, 2.5)))
        for event in later:
            book.append(event)
    (home / "checkpoints" / "a0001-s00000030").mkdir(parents=True, exist_ok=True)
    return home


@pytest.fixture
def home(tmp_path):
    diagnosis = ev.Diagnosis(incident="incident-1", step=46, causes=(CAUSE,))
    lower = ac.ScaleLearningRate(factor=0.5, from_step=19, hold_steps=20, rewarm_steps=60)
    return write_run(
        tmp_path,
        given("remedy-1", (lower, ac.ScaleEpsilon(factor=0.1, from_step=19))),
        ev.RemedyDone(remedy="remedy-1", attempt=1, step=19),
        opened(),
        diagnosis,
        proposed(),
    )


def run(capsys, *arguments):
    status = cli.main(["remedy", *[str(one) for one in arguments]])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def waiting(home):
    inbox = control.Inbox(home)
    return [inbox.open(name).word for name in inbox.waiting()]


class TestWhatIsShown:
    def test_proposals_and_remedies_with_their_why_and_evidence(self, capsys, home):
        status, out, _ = run(capsys, home)
        assert status == 0
        assert "r1 is at step 50 of 1000, attempt 1, mode ask" in out
        assert "proposed: remedy-2 for incident-1: roll back to step 40, leave out 100" in out
        assert "why: it is bad" in out
        assert "evidence: bad text (zh), 93% sure: 11 of 12 are garbled" in out
        assert "as an order: roll back 40; skip draws 1300-1399" in out
        assert "in force: remedy-1 for incident-0, since step 20: w" in out
        assert "re-warmed over 60 steps (until step 99)" in out
        assert "epsilon x0.1 (for good)" in out

    def test_the_same_as_json(self, capsys, home):
        _, out, _ = run(capsys, home, "--json")
        shown = json.loads(out)
        assert (shown["step"], shown["mode"], shown["ended"]) == (50, "ask", False)
        assert [one["id"] for one in shown["proposals"]] == ["remedy-2"]
        assert shown["proposals"][0]["order"] == "roll back 40; skip draws 1300-1399"
        assert [one["do"] for one in shown["in_force"]] == ["ScaleLearningRate", "ScaleEpsilon"]
        assert [one["until"] for one in shown["in_force"]] == [99, None]

    def test_in_chinese(self, capsys, home):
        _, out, _ = run(capsys, home, "--lang", "zh")
        assert "回滚到第 40 步" in out

    def test_a_quiet_run(self, capsys, tmp_path):
        _, out, _ = run(capsys, write_run(tmp_path, mode="act"))
        assert "mode act\nnothing is proposed\nno remedy is in force\n" in out

    def test_in_the_mode_observe_it_says_what_would_be_done(self, capsys, tmp_path):
        home = write_run(tmp_path, opened(), proposed(), mode="observe")
        _, out, _ = run(capsys, home)
        assert "would be done, were the mode not 'observe': remedy-2" in out
        status, _, error = run(capsys, home, "accept")
        assert status == 2
        assert "nothing is proposed" in error
        _, _, error = run(capsys, home, "accept", "remedy-2")
        assert "order its plan: roll back 40; skip draws 1300-1399" in error


class TestWords:
    def test_the_only_proposal_needs_no_id(self, capsys, home):
        assert run(capsys, home, "accept", "--as", "night shift", "--why", "yes\n  do")[0] == 0
        (word,) = waiting(home)
        assert (word.verb, word.remedy, word.incident) == ("accept", "remedy-2", "incident-1")
        assert (word.name, word.words) == ("night shift", "yes do")

    def test_a_proposal_is_refused_with_a_reason(self, capsys, home):
        assert run(capsys, home, "refuse", "remedy-2", "--why", "the text is fine")[0] == 0
        (word,) = waiting(home)
        assert (word.verb, word.remedy, word.words) == ("refuse", "remedy-2", "the text is fine")

    def test_an_order_is_for_the_open_incident(self, capsys, home):
        run(capsys, home, "order", "roll back 40; lr 0.5 hold 1 rewarm 2", "--json")
        (word,) = waiting(home)
        assert (word.plan, word.incident) == ("roll back 40; lr 0.5 hold 1 rewarm 2", "incident-1")

    @pytest.mark.parametrize("mode", ["observe", "ask", "act"])
    def test_the_mode_is_set(self, capsys, home, mode):
        assert run(capsys, home, "mode", mode)[0] == 0
        assert waiting(home)[0].verb == mode

    def test_a_dry_run_prints_the_plan_and_sends_nothing(self, capsys, home):
        _, out, _ = run(capsys, home, "order", "epsilon 0.1; roll back 40", "--dry-run")
        assert json.loads(out) == [
            {"do": "ScaleEpsilon", "factor": 0.1, "from_step": 40},
            {"do": "RollBack", "to_step": 40},
        ]
        assert waiting(home) == []

    def test_waiting_has_an_end(self, capsys, home):
        status, _, error = run(capsys, home, "mode", "act", "--wait", "0.1")
        assert status == 1
        assert "after 0.1 s the run has not heard it" in error

    def test_the_help_lists_every_action_with_an_example(self, capsys):
        with pytest.raises(SystemExit):
            cli.main(["remedy", "x", "order", "--help"])
        out = capsys.readouterr().out
        assert all(
            words in out for words in ("roll back 1200", "clipping zclip", "cancel remedy-3")
        )

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["accept", "remedy-1"], "it was carried out already"),
            (["accept", "remedy-7"], "Those that wait: remedy-2"),
            (["order", "roll back 50"], "Write a step before 50"),
            (["order", "roll back 20"], "the oldest state is of step 30"),
            (["order", "skip draws 0-100"], "have been used"),
            (["order", "skip draws 40000"], "no update of this run will come to draw 40000"),
            (["order", "exclude rank 4"], "there is no rank 4"),
            (["order", "cancel remedy-9"], "Write one of: remedy-1"),
            (["order", "epsilon 0.1 from 3"], "lies in the past"),
            (["order", "epsilon 0.1 from 1000"], "the run's last one is 1000"),
            (["order", "skip update 44"], "write: roll back 43"),
            (["order", "faster"], "is no action that is known"),
            (["order", "reset moments", "--incident", "incident-4"], "Write one of: incident-1"),
            (["mode", "act", "--as", "a\x1b[2Jb"], "cannot be printed"),
        ],
        ids=lambda one: " ".join(one) if isinstance(one, list) else "",
    )
    def test_what_cannot_be_is_refused_and_nothing_is_sent(self, capsys, home, arguments, words):
        status, _, error = run(capsys, home, *arguments)
        assert status == 2
        assert words in error
        assert waiting(home) == []

    def test_several_proposals_need_an_id(self, capsys, tmp_path):
        both = (opened(), proposed(), opened("incident-2"), proposed("remedy-3", "incident-2"))
        _, _, error = run(capsys, write_run(tmp_path, *both), "accept")
        assert "Write one of: remedy-2, remedy-3" in error

    def test_no_run_is_said(self, capsys, tmp_path):
        status, _, error = run(capsys, tmp_path, "mode", "act")
        assert status == 2
        assert "nobody to hear" in error

    def test_an_ended_run_is_said(self, capsys, tmp_path):
        home = write_run(tmp_path, ev.RunEnded(attempt=1, step=50))
        status, _, error = run(capsys, home, "mode", "act")
        assert status == 2
        assert "the run has ended after step 50" in error
        assert "ended after step 50" in run(capsys, home)[1]

    def test_what_a_run_cannot_carry_out_is_said_with_what_it_can(self, capsys, tmp_path):
        home = write_run(tmp_path, can=("RollBack", "SetClipping", "AskPerson"))
        _, _, error = run(capsys, home, "order", "reset moments")
        assert "cannot 'reset moments'" in error
        assert "Write a plan of: 'roll back', 'clipping'\n" in error
        _, _, error = run(capsys, home, "order", "clipping spikes")
        assert "cannot 'clipping spikes'" in error
        assert run(capsys, home, "order", "clipping zclip")[0] == 0


class TestStanding:
    def stand(self, *later):
        standing = Standing()
        for event in (began(), ev.AttemptBegan(attempt=1, step=0, draw=0, cause="start"), *later):
            standing.note(event)
        return standing

    def holds(self, *later):
        return [(one.remedy, type(one.action).__name__) for one in self.stand(*later).in_force()]

    def test_a_proposal_is_open_until_it_is_answered_or_its_incident_closes(self):
        assert list(self.stand(opened(), proposed()).proposals) == ["remedy-2"]
        for answer in (
            said("refuse", remedy="remedy-2"),
            opened(change="closed"),
            msgspec.structs.replace(given("remedy-2", PLAN), incident="incident-1"),
        ):
            assert not self.stand(opened(), proposed(), answer).proposals
        newer = self.stand(opened(), proposed(), proposed("remedy-3"))
        assert list(newer.proposals) == ["remedy-3"]

    def test_who_refused_it_is_remembered(self):
        standing = self.stand(opened(), proposed(), said("refuse", remedy="remedy-2"))
        with pytest.raises(SettingError, match="ada refused it after step 46"):
            standing.proposal("remedy-2")

    def test_a_rollback_ends_the_settings_of_its_branch_but_not_what_was_left_out(self):
        skip = ac.SkipDraws(ranges=((5, 6),), from_step=30)
        early, late = (ac.ScaleEpsilon(factor=0.1, from_step=at) for at in (10, 30))
        first = given("remedy-1", (early, late, skip))
        assert self.holds(first, given("remedy-2", (ac.RollBack(to_step=20),))) == [
            ("remedy-1", "ScaleEpsilon"),
            ("remedy-1", "SkipDraws"),
        ]

    def test_what_was_cancelled_is_not_in_force(self):
        first = given("remedy-1", (ac.ScaleEpsilon(factor=0.1, from_step=0),))
        cancel = given("remedy-2", (ac.Cancel(remedy="remedy-1", from_step=30),))
        assert self.holds(first) == [("remedy-1", "ScaleEpsilon")]
        assert self.holds(first, cancel) == []
        assert self.holds(first, cancel, given("remedy-3", (ac.RollBack(to_step=9),))) == []

    def test_a_branch_brings_its_remedies(self):
        old = given("old:remedy-1", (ac.ScaleEpsilon(factor=0.1, from_step=0),))
        branched = ev.RunBranched(
            run="old", home="runs/old", step=5, draw=9, checkpoint="c", remedies=(old,)
        )
        assert self.holds(branched) == [("old:remedy-1", "ScaleEpsilon")]

    def test_the_mode_is_the_recipes_until_a_person_sets_it(self):
        assert self.stand().mode == "act"
        assert self.stand(said("ask")).mode == "ask"

    def test_looking_at_a_journal_is_the_fold_over_all_of_it(self, home):
        whole = Standing()
        for event in journal.read(home):
            whole.note(event)
        assert look(home) == whole

    def test_the_last_rank_cannot_be_excluded(self):
        world = began().world
        out = [
            given(f"remedy-{rank}", (ac.ExcludeRank(rank=rank, from_step=0),))
            for rank in range(world - 1)
        ]
        with pytest.raises(SettingError, match="no rank's gradient would be left"):
            self.stand(*out).refuse_impossible(
                (ac.ExcludeRank(rank=world - 1, from_step=1),), after=1
            )


class TestAnswer:
    def hear(self, *told):
        answer = Answer(id="w")
        return answer, [answer.hears(event) for event in told]

    def test_it_is_what_is_concluded_at_once_and_the_deed(self):
        answer, heard = self.hear(
            record(50, (2.0, 2.5)),
            said("order", id="other"),
            said("order", id="w"),
            opened(),
            given("remedy-5", PLAN),
            record(51, (2.0, 2.5)),
            ev.RemedyDone(remedy="remedy-4", attempt=1, step=51),
            ev.RemedyDone(remedy="remedy-5", attempt=1, step=51),
        )
        assert heard == [False, False, True, True, True, False, False, True]
        assert answer.is_complete
        assert not answer.is_declined

    def test_it_is_complete_with_the_next_fact_if_nothing_is_to_be_done(self):
        answer, _ = self.hear(said("ask", id="w"))
        assert not answer.is_complete
        answer.hears(record(51, (2.0, 2.5)))
        assert answer.is_complete

    def test_what_the_judge_declines_is_told_apart(self):
        no = ev.Advice(topic="order", text="no")
        assert self.hear(said("order", id="w"), no, record(51, (2.0, 2.5)))[0].is_declined


def test_following_begins_after_what_stands_there(tmp_path):
    home = write_run(tmp_path)
    tail = journal.Tail(home)
    tail.skip()
    assert tail.poll() == []
    with Journal(home, "rank0") as book:
        book.append(said("act"))
    assert [line.event for _, line in tail.poll()] == [said("act")]


def test_a_torn_line_is_not_skipped(tmp_path):
    home = write_run(tmp_path)
    (path,) = journal.files(home, "rank0")
    with open(path, "ab") as file:
        file.write(b'{"v":1,"seq":99,"at":1.0,"kind":"RunEnded",')
        file.flush()
        tail = journal.Tail(home)
        tail.skip()
        file.write(b'"attempt":1,"step":50}\n')
    assert [line.event for _, line in tail.poll()] == [ev.RunEnded(attempt=1, step=50)]


def test_draws_that_come_when_batches_have_grown_can_be_left_out():
    standing = Standing()
    standing.note(
        ev.RunBegan(
            run="r", recipe={}, domains=("zh",), model="m", parameters=7, world=1,
            draws_per_step=32, ramp=((100, 64),), steps=1000,
        )
    )  # fmt: skip
    last = 100 * 32 + 900 * 64
    plan = (ac.SkipDraws(ranges=((last - 10, last - 5),), from_step=1),)
    standing.refuse_impossible(plan, after=1)
    with pytest.raises(SettingError, match="no update of this run will come"):
        standing.refuse_impossible(
            (ac.SkipDraws(ranges=((last + 20, last + 25),), from_step=1),), after=1
        )
