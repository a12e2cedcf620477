"""A person's word to a run that is under way: heard once, by all ranks alike, never fatal."""

import json
import os
import threading
import time
from types import SimpleNamespace

import pytest

from steadytrain import cli, control, journal
from steadytrain.actions import RollBack, ScaleLearningRate
from steadytrain.control import Word
from steadytrain.events import PersonSaid, Proposal, RemedyDone, StepRecord
from steadytrain.replaying import replay
from steadytrain.standing import Standing
from steadytrain.train import desk
from steadytrain.train.desk import Desk
from tests import rig

ORDER = Word(verb="order", plan="lr 0.5 hold 5 rewarm 5", words="too fast")


@pytest.fixture(autouse=True)
def _look_at_every_step(monkeypatch):
    monkeypatch.setattr(desk, "EVERY_SECONDS", 0.0)


def train(home, *, steps, at=None, **changes):
    """Train; `at` maps a step to what is done once after it."""
    said, at = [], dict(at or {})
    model, optimizer, guarded = rig.session(home, steps=steps, say=said.append, **changes)
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            at.pop(run.step_number, lambda: None)()
    return said, rig.digest(model, optimizer)


def found(home, kind):
    return [one for one in journal.read(home) if isinstance(one, kind)]


def put(home, name, body):
    (home / "control" / f"{name}.json").write_bytes(body)


def test_an_order_changes_the_run_two_updates_later_and_for_as_long_as_it_says(tmp_path):
    home = tmp_path / "r"
    train(home, steps=60, at={20: lambda: control.send(home, ORDER)})
    (said,) = found(home, PersonSaid)
    assert (said.verb, said.step, said.words) == ("order", 20, "too fast")
    assert said.plan == (ScaleLearningRate(factor=0.5, from_step=21, hold_steps=5, rewarm_steps=5),)
    (done,) = found(home, RemedyDone)
    assert done.step == 21
    rates = {one.step: one.lr / 3e-3 for one in found(home, StepRecord)}
    assert [rates[step] for step in (21, 22, 26, 27)] == pytest.approx([1, 0.5, 0.5, 0.6])
    assert rates[31] == pytest.approx(1)
    (taken,) = (home / "control" / "taken").iterdir()
    assert taken.stem == said.id


def test_a_word_is_on_record_with_who_said_it_and_replays(tmp_path):
    home = tmp_path / "r"
    word = Word(verb="ask", name="night shift", words="careful now")
    said, _ = train(home, steps=20, at={5: lambda: control.send(home, word)})
    (heard,) = found(home, PersonSaid)
    assert heard.who.endswith(" as night shift")
    assert any("sets the mode to 'ask': careful now" in words for words in said)
    assert [one.differences for one in replay(home)] == [()]


def test_a_word_said_while_the_run_was_down_is_heard_when_it_goes_on(tmp_path):
    home = tmp_path / "r"
    train(home, steps=10)
    assert not found(home, PersonSaid)
    control.send(home, Word(verb="act"))
    train(home, steps=20)
    assert [one.step for one in found(home, PersonSaid)] == [10]


def test_the_last_word_is_heard_and_what_comes_later_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(desk, "EVERY_SECONDS", 1e9)
    home, late = tmp_path / "r", []
    real = Desk.close

    def close(self):
        late.append(control.send(home, ORDER))
        real(self)

    monkeypatch.setattr(Desk, "close", close)
    train(home, steps=10, at={10: lambda: control.send(home, Word(verb="act"))})
    assert [one.step for one in found(home, PersonSaid)] == [10]
    assert control.fate(home, late[0]).state == "refused"
    assert "the run ended" in control.fate(home, late[0]).why


def test_two_words_at_once_are_heard_in_the_order_in_which_they_were_said(tmp_path):
    home = tmp_path / "r"

    def send():
        control.send(home, Word(verb="ask"))
        control.send(home, Word(verb="observe"))

    train(home, steps=10, at={5: send})
    assert [(one.verb, one.step) for one in found(home, PersonSaid)] == [("ask", 5), ("observe", 5)]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (Word(verb="accept", remedy="remedy-9"), "no such proposal waits"),
        (Word(verb="refuse", remedy="remedy-9"), "no such proposal waits"),
        (Word(verb="order", plan="warp 9"), "no action"),
        (Word(verb="order", plan="roll back 500"), "has made 6 updates"),
        (Word(verb="order", plan="skip draws 0-3"), "have been used"),
        (Word(verb="order", plan="skip draws 90000"), "no update of this run will come to draw"),
        (Word(verb="order", plan="exclude rank 0"), "this run cannot 'exclude rank'"),
        (Word(verb="order", plan="cancel remedy-1"), "Nothing is in force"),
        (Word(verb="order", plan="epsilon 0.1 from 2"), "lies in the past"),
        (Word(verb="order", plan="epsilon 0.1 from 20"), "the run's last one is 20"),
        (Word(verb="order", plan="skip update 3"), "the gate"),
        (Word(verb="order", plan='ask "why"'), "you are the person"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.plan or one.verb,
)
def test_what_the_run_cannot_do_is_refused_with_a_reason_and_training_goes_on(tmp_path, word, why):
    home, sent = tmp_path / "r", []
    said, _ = train(home, steps=20, at={6: lambda: sent.append(control.send(home, word))})
    fate = control.fate(home, sent[0])
    assert fate.state == "refused"
    assert why in fate.why
    assert any("is refused" in words and why in words for words in said)
    assert not found(home, PersonSaid)
    assert max(one.step for one in found(home, StepRecord)) == 20


def test_an_order_to_a_state_that_is_not_kept_is_refused(tmp_path):
    home, sent = tmp_path / "r", []
    order = Word(verb="order", plan="roll back 3")
    train(
        home,
        steps=80,
        keep=1,
        checkpoint_every=20,
        snapshots=2,
        at={75: lambda: sent.append(control.send(home, order))},
    )
    assert "the oldest state is of step" in control.fate(home, sent[0]).why


def test_garbage_is_refused_loudly_once_it_is_no_longer_written(tmp_path):
    home = tmp_path / "r"

    def litter():
        put(home, "half", b'{"verb":"a')
        put(home, "noise", os.urandom(500))
        put(home, "deep", b"[" * 60_000)
        put(home, "b c", b"{}")
        os.symlink("/etc/passwd", home / "control" / "link.json")
        os.mkfifo(home / "control" / "pipe.json")
        (home / "control" / "folder.json").mkdir()
        (home / "control" / "note.txt").write_text("not a word")

    said, _ = train(
        home,
        steps=20,
        at={5: litter, 6: lambda: put(home, "half", b'{"verb":"act"}')},
    )
    assert [one.id for one in found(home, PersonSaid)] == ["half"]
    refused = {one.stem for one in (home / "control" / "refused").glob("*.txt")}
    assert refused == {"noise", "deep", "b c", "link", "pipe", "folder"}
    assert sum("is refused" in words for words in said) == 6
    assert control.Inbox(home).waiting() == []


def test_the_name_of_an_earlier_word_is_refused_and_not_passed_over_in_silence(tmp_path):
    home = tmp_path / "r"
    again = lambda: put(home, "mine", b'{"verb":"act"}')  # noqa: E731
    train(home, steps=20, at={5: again, 10: again})
    assert len(found(home, PersonSaid)) == 1
    why = (home / "control" / "refused" / "mine.txt").read_text()
    assert "another word had this name" in why


def test_a_folder_that_cannot_be_read_is_said_once_and_training_goes_on(tmp_path):
    home = tmp_path / "r"
    home.mkdir()
    (home / "control").write_text("in the way")
    said, _ = train(home, steps=20)
    assert sum("control folder" in words for words in said) == 1


def test_a_word_that_cannot_be_moved_is_obeyed_once(tmp_path, monkeypatch):
    home = tmp_path / "r"

    def cannot(self, name):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(control.Inbox, "take", cannot)
    said, _ = train(home, steps=20, at={5: lambda: control.send(home, Word(verb="act"))})
    assert len(found(home, PersonSaid)) == 1
    assert sum("cannot be moved" in words for words in said) == 1


def test_death_between_the_journal_and_the_move_obeys_once(tmp_path, monkeypatch):
    home = tmp_path / "r"
    real = control.Inbox.take

    class Killed(BaseException):
        pass

    def die(self, name):
        raise Killed

    monkeypatch.setattr(control.Inbox, "take", die)
    with pytest.raises(Killed):
        train(home, steps=60, at={25: lambda: control.send(home, ORDER)})
    assert len(control.Inbox(home).waiting()) == 1
    monkeypatch.setattr(control.Inbox, "take", real)
    _, broken = train(home, steps=60)
    assert len(found(home, PersonSaid)) == len(found(home, RemedyDone)) == 1
    assert control.Inbox(home).waiting() == []
    other = tmp_path / "other"
    _, whole = train(other, steps=60, at={25: lambda: control.send(other, ORDER)})
    assert broken == whole


def test_an_order_to_roll_back_returns_and_holds_from_there(tmp_path):
    home = tmp_path / "r"
    order = Word(verb="order", plan="roll back 20; skip draws 252-275; epsilon 0.5")
    train(home, steps=60, at={30: lambda: control.send(home, order)})
    done = next(one for one in found(home, RemedyDone))
    assert (done.step, done.restored_step) == (20, 20)
    again = [one for one in found(home, StepRecord) if one.step == 22][-1]
    assert (again.draw, again.draw_end) == (252, 288)


def test_a_person_at_the_command_line_waits_for_the_deed(tmp_path, capfd):
    home, status = tmp_path / "r", []

    def say():
        status.append(
            cli.main(
                ["remedy", str(home), "order", "lr 0.5 hold 5 rewarm 5", "--wait", "60", "--json"]
            )
        )

    person = threading.Thread(target=say)
    train(
        home,
        steps=400,
        at={20: person.start, **{step: lambda: time.sleep(0.01) for step in range(21, 400)}},
    )
    person.join(60)
    assert status == [0]
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [one["kind"] for one in told] == ["PersonSaid", "Incident", "Remedy", "RemedyDone"]


def test_looking_costs_next_to_nothing_when_it_is_not_time(tmp_path, monkeypatch):
    monkeypatch.setattr(desk, "EVERY_SECONDS", 0.5)
    looks = []
    monkeypatch.setattr(control.Inbox, "waiting", lambda self: looks.append(1) or [])
    times = iter([1.0, 1.1, 1.4, 1.6, 1.7])
    quiet = Desk(tmp_path, None, oldest=lambda: None, say=print, clock=lambda: next(times))
    for _ in range(5):
        quiet.attend()
    assert len(looks) == 2


@pytest.mark.parametrize("word", [Word(verb="accept", remedy="remedy-1"), Word(verb="act")])
def test_a_proposal_whose_state_is_no_longer_kept_is_not_accepted(tmp_path, word):
    standing = Standing(step=400)
    standing.proposals["remedy-1"] = Proposal(
        id="remedy-1", incident="incident-1", step=60, rung=0, cause="instability",
        plan=(RollBack(to_step=50),), why="",
    )  # fmt: skip
    memory = SimpleNamespace(standing=standing, is_judging=True)
    guarded = Desk(tmp_path, memory, oldest=lambda: 90, say=lambda _: None)
    sent = control.send(tmp_path, word)
    guarded.read()
    fate = control.fate(tmp_path, sent)
    assert fate.state == "refused"
    assert "remedy-1 has waited for too long" in fate.why
    assert "the oldest state is of step 90" in fate.why
