"""Append-only, one writer per file, torn last lines forgiven, torn middle lines never."""

import errno
import math
import subprocess
import sys

import pytest

from steadytrain import journal
from steadytrain.errors import JournalError
from steadytrain.events import RunEnded
from steadytrain.journal import Journal
from tests.samples import EVERY_KIND, record


def _write(home, *events, writer="rank0"):
    with Journal(home, writer) as book:
        for event in events:
            book.append(event)


def test_what_was_written_is_read_in_order(tmp_path):
    _write(tmp_path, *[record(step, (2.0, 3.0)) for step in range(1, 6)])
    assert [event.step for event in journal.read(tmp_path)] == [1, 2, 3, 4, 5]


def test_every_kind_is_read_back(tmp_path):
    _write(tmp_path, *EVERY_KIND)
    assert [type(one) for one in journal.read(tmp_path)] == [type(one) for one in EVERY_KIND]


def test_each_life_begins_a_new_file_and_the_numbering_goes_on(tmp_path):
    _write(tmp_path, RunEnded(attempt=1, step=1))
    _write(tmp_path, RunEnded(attempt=2, step=2))
    assert [path.name for path in journal.files(tmp_path, "rank0")] == [
        "rank0.0.jsonl",
        "rank0.1.jsonl",
    ]
    assert [line.seq for line in journal.lines(tmp_path)] == [0, 1]


def test_a_file_past_its_size_is_followed_by_the_next(tmp_path):
    with Journal(tmp_path, "rank0", rotate_bytes=500) as book:
        for step in range(1, 11):
            book.append(record(step, (1.0,)))
    assert len(journal.files(tmp_path, "rank0")) > 2
    assert [event.step for event in journal.read(tmp_path)] == list(range(1, 11))


def test_a_torn_last_line_is_dropped(tmp_path):
    _write(tmp_path, record(1, (1.0,)), record(2, (1.0,)))
    path = journal.files(tmp_path, "rank0")[0]
    whole = path.read_bytes()
    for cut in range(len(whole.split(b"\n")[0]) + 1, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        assert [event.step for event in journal.read(tmp_path)] == [1]


def test_a_line_torn_by_an_earlier_death_does_not_hide_the_next_life(tmp_path):
    _write(tmp_path, record(1, (1.0,)), record(2, (1.0,)))
    path = journal.files(tmp_path, "rank0")[0]
    path.write_bytes(path.read_bytes()[:-20])
    _write(tmp_path, record(3, (1.0,)))
    assert [event.step for event in journal.read(tmp_path)] == [1, 3]


def test_a_torn_middle_line_is_an_error_that_names_it(tmp_path):
    _write(tmp_path, *[record(step, (1.0,)) for step in (1, 2, 3)])
    path = journal.files(tmp_path, "rank0")[0]
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:30], *lines[2:]]))
    with pytest.raises(JournalError, match=r"line 2 of .*rank0\.0\.jsonl .*Restore the file"):
        list(journal.read(tmp_path))


def test_a_full_disk_leaves_no_half_line_behind(tmp_path, monkeypatch):
    book = Journal(tmp_path, "rank0")
    book.append(record(1, (1.0,)))
    real = book._file

    class Full:
        name = real.name
        fileno = real.fileno
        seek = real.seek

        def write(self, line):
            real.write(line[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    book._file = Full()
    with pytest.raises(JournalError, match="the disk is full.*Free some space"):
        book.append(record(2, (1.0,)))
    book._file = real
    book.append(record(3, (1.0,)))
    book.close()
    assert [event.step for event in journal.read(tmp_path)] == [1, 3]


def test_a_place_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be written.*Choose"):
        Journal(tmp_path / "file", "rank0")


def test_a_tail_sees_each_line_once_and_waits_for_a_whole_one(tmp_path):
    tail = journal.Tail(tmp_path)
    assert tail.poll() == []
    _write(tmp_path, record(1, (1.0,)))
    assert [line.event.step for _, line in tail.poll()] == [1]
    assert tail.poll() == []
    path = journal.files(tmp_path, "rank0")[0]
    whole = path.read_bytes()
    with open(path, "ab") as file:
        file.write(whole[:40])
        file.flush()
        assert tail.poll() == []
        file.write(whole[40:])
    assert [line.event.step for _, line in tail.poll()] == [1]


def test_a_tail_merges_writers_by_clock(tmp_path):
    clock = iter(range(100)).__next__
    with (
        Journal(tmp_path, "rank0", clock=clock) as first,
        Journal(tmp_path, "supervisor", clock=clock) as second,
    ):
        first.append(record(1, (1.0,)))
        second.append(record(2, (1.0,)))
        first.append(record(3, (1.0,)))
    polled = journal.Tail(tmp_path).poll()
    assert [(writer, line.event.step) for writer, line in polled] == [
        ("rank0", 1),
        ("supervisor", 2),
        ("rank0", 3),
    ]


def test_a_killed_writer_loses_at_most_its_last_line(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from steadytrain.journal import Journal\n"
        "from steadytrain.events import RunEnded\n"
        f"book = Journal({str(tmp_path)!r}, 'rank0')\n"
        "for step in range(50): book.append(RunEnded(attempt=1, step=step))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(journal.read(tmp_path))) == 50


def test_nan_never_reaches_the_file_as_a_bare_word(tmp_path):
    _write(tmp_path, record(1, (math.nan,)))
    assert b"NaN" not in journal.files(tmp_path, "rank0")[0].read_bytes()
    assert math.isnan(next(iter(journal.read(tmp_path))).loss)
