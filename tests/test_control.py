"""The control folder: words arrive whole, in order, once, and with their owner's name."""

import getpass
import json
import os
import threading

import pytest

from steadytrain import control
from steadytrain.control import Inbox, Word
from steadytrain.errors import SettingError

ACCEPT = Word(verb="accept", remedy="remedy-1")


def put(home, name, body):
    (home / "control").mkdir(exist_ok=True)
    path = home / "control" / f"{name}.json"
    path.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    return path


def test_a_word_arrives_as_it_was_sent_with_the_account_that_sent_it(tmp_path):
    word = Word(verb="order", plan="lr 0.5 hold 1 rewarm 2", words="why not", incident="incident-2")
    name = control.send(tmp_path, word)
    inbox = Inbox(tmp_path)
    assert inbox.waiting() == [name]
    letter = inbox.open(name)
    assert (letter.id, letter.who, letter.word) == (name, getpass.getuser(), word)


def test_the_name_that_is_given_stands_beside_the_account(tmp_path):
    name = control.send(tmp_path, Word(verb="act", name="night shift"))
    assert Inbox(tmp_path).open(name).who == f"{getpass.getuser()} as night shift"


def test_words_are_read_in_the_order_in_which_they_were_said(tmp_path):
    times = iter([10**18 + 5, 10**18 + 2 * 10**9, 10**18 + 7])
    sent = [control.send(tmp_path, ACCEPT, clock=lambda: next(times)) for _ in range(3)]
    assert Inbox(tmp_path).waiting() == [sent[0], sent[2], sent[1]]


def test_two_words_of_the_same_moment_are_two(tmp_path):
    sent = {control.send(tmp_path, ACCEPT, clock=lambda: 10**18) for _ in range(8)}
    assert len(sent) == len(Inbox(tmp_path).waiting()) == 8


def test_no_reader_meets_half_a_word(tmp_path):
    inbox, done = Inbox(tmp_path), threading.Event()
    long = Word(verb="refuse", remedy="remedy-1", words="because " * 1000)

    def send():
        for _ in range(60):
            control.send(tmp_path, long)
        done.set()

    sender = threading.Thread(target=send)
    sender.start()
    found = 0
    while not done.is_set() or inbox.waiting():
        for name in inbox.waiting():
            assert inbox.open(name).word == long
            inbox.take(name)
            found += 1
    sender.join()
    assert found == 60


def test_what_became_of_a_word_can_be_asked(tmp_path):
    inbox = Inbox(tmp_path)
    inbox.prepare()
    first, second = control.send(tmp_path, ACCEPT), control.send(tmp_path, ACCEPT)
    assert control.fate(tmp_path, first).state == "waits"
    inbox.take(first)
    inbox.refuse(second, "no such proposal")
    assert control.fate(tmp_path, first).state == "taken"
    assert inbox.was_taken(first)
    assert control.fate(tmp_path, second) == control.Fate(state="refused", why="no such proposal")
    assert control.fate(tmp_path, "never").state == "gone"
    assert inbox.waiting() == []


def test_a_run_without_a_folder_has_no_words(tmp_path):
    assert Inbox(tmp_path / "none").waiting() == []


def test_partial_files_and_folders_of_our_own_are_no_words(tmp_path):
    Inbox(tmp_path).prepare()
    (tmp_path / "control" / ".20260101T000000.000000000-abc.partial").write_text("{")
    (tmp_path / "control" / ".hidden.json").write_text("{")
    assert Inbox(tmp_path).waiting() == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no word of a person"),
        (b"\xff\xfe\x00", "no word of a person"),
        (b"[" * 50_000, "no word of a person"),
        (b'{"verb":"accept"', "no word of a person"),
        ({"verb": "dance"}, "dance"),
        ({"verb": "accept"}, "without a proposal"),
        ({"verb": "order"}, "order needs one"),
        ({"verb": "act", "plan": "lr 1"}, "belongs to the verb order"),
        ({"verb": "act", "mood": "fine"}, "mood"),
        ({"verb": "act", "words": "\x1b[2J"}, "cannot be printed"),
        ({"verb": "act", "name": "a\u202eb"}, "cannot be printed"),
        ({"verb": "act", "words": "x" * 70_000}, "more than"),
    ],
    ids=str,
)
def test_what_is_no_word_is_told_why(tmp_path, body, words):
    put(tmp_path, "w", body)
    with pytest.raises(SettingError) as caught:
        Inbox(tmp_path).open("w")
    assert words in str(caught.value)


def test_a_link_a_pipe_and_a_second_name_are_no_words(tmp_path):
    real = put(tmp_path, "real", {"verb": "act"})
    os.symlink(real, real.with_name("link.json"))
    os.mkfifo(real.with_name("pipe.json"))
    os.mkdir(real.with_name("folder.json"))
    for name in ("link", "pipe", "folder"):
        with pytest.raises(SettingError, match="no plain file"):
            Inbox(tmp_path).open(name)
    os.link(real, tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="no plain file"):
        Inbox(tmp_path).open("real")


def test_a_strange_name_is_refused(tmp_path):
    put(tmp_path, "a b;c", {"verb": "act"})
    inbox = Inbox(tmp_path)
    (name,) = inbox.waiting()
    with pytest.raises(SettingError, match="cannot be the id"):
        inbox.open(name)
    inbox.refuse(name, "why")
    assert control.fate(tmp_path, name).state == "refused"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_word_that_the_run_may_not_read_is_refused(tmp_path):
    put(tmp_path, "w", {"verb": "act"}).chmod(0)
    with pytest.raises(SettingError, match="may not read it"):
        Inbox(tmp_path).open("w")


def test_a_home_that_cannot_be_written_says_who_may_order(tmp_path):
    (tmp_path / "control").write_text("in the way")
    with pytest.raises(SettingError, match="accounts that may write there"):
        control.send(tmp_path, ACCEPT)
