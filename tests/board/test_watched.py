"""A run that grows, rotates, ends torn, is replaced: what the board knows of it."""

import math

import pytest

from steadytrain import events as ev
from steadytrain.board.library import Library
from steadytrain.board.watched import Watched
from steadytrain.errors import SettingError
from tests.board.rig import Writer, began, start, step, write_run


def watched(home):
    return Watched(id="r", home=home)


def test_a_growing_journal_is_read_once_and_line_by_line(tmp_path):
    writer = write_run(tmp_path, 10)
    one = watched(tmp_path)
    assert one.catch_up(seconds=9)
    seen = one.news.bytes_read
    assert not one.catch_up(seconds=9)
    writer.add(step(11))
    assert one.catch_up(seconds=9)
    assert one.track.rows == 11
    assert one.news.bytes_read - seen == len(Writer(tmp_path / "x").line(step(11))) + 1


def test_a_torn_last_line_waits_until_it_is_whole(tmp_path):
    writer = write_run(tmp_path, 3)
    line = writer.line(step(4))
    writer.tear(line[:50])
    one = watched(tmp_path)
    one.catch_up(seconds=9)
    assert one.track.rows == 3
    writer.tear(line[50:])
    one.catch_up(seconds=9)
    assert (one.track.rows, one.news.num_bad) == (4, 0)


def test_a_life_that_ended_torn_is_followed_by_the_next_file(tmp_path):
    writer = write_run(tmp_path, 5)
    writer.tear()
    one = watched(tmp_path)
    one.catch_up(seconds=9)
    writer.rotate()
    writer.add(
        ev.AttemptBegan(attempt=2, step=3, draw=24, cause="restart"), step(4, attempt=2),
    )  # fmt: skip
    one.catch_up(seconds=9)
    assert one.track.number("step").tolist() == [1, 2, 3, 4]
    assert one.track.branches[0].step.tolist() == [4, 5]
    assert one.news.num_bad == 0


def test_a_bad_line_is_told_and_what_follows_is_read(tmp_path):
    writer = write_run(tmp_path, 3)
    writer.tear(b'{"v":1,"kind":"StepRecord"}\n{"v":1,"kind":"FromTheFuture"}\nnonsense\n')
    writer.add(step(4))
    one = watched(tmp_path)
    one.catch_up(seconds=9)
    assert (one.track.rows, one.news.num_bad) == (4, 3)
    assert one.news.bad[0].file == "rank0.0.jsonl"


def test_numbers_that_are_none_are_read(tmp_path):
    writer = Writer(tmp_path)
    writer.add(began(), start(), step(1, loss=math.nan, grad_norm=math.inf))
    one = watched(tmp_path)
    one.catch_up(seconds=9)
    assert [place for _, place in one.track.odd] == [0, 1]


def test_a_journal_that_was_replaced_is_read_from_its_beginning(tmp_path):
    write_run(tmp_path, 9)
    one = watched(tmp_path)
    one.catch_up(seconds=9)
    (tmp_path / "journal" / "rank0.0.jsonl").unlink()
    write_run(tmp_path, 2)
    one.catch_up(seconds=9)
    one.catch_up(seconds=9)
    assert (one.track.rows, one.epoch) == (2, 2)


def test_the_run_stands_as_its_journal_says(tmp_path):
    writer = write_run(tmp_path, 6, mode="ask")
    writer.add(ev.RunEnded(attempt=1, step=6))
    one = watched(tmp_path)
    one.catch_up(seconds=9)
    standing = one.standing
    assert (standing.step, standing.draw, standing.mode, standing.has_ended) == (6, 48, "ask", True)


def test_heartbeats_are_kept_the_newest_alone(tmp_path):
    writer = Writer(tmp_path, "supervisor")
    writer.add(
        *(
            ev.Heartbeat(generation=0, rank=0, step=n, phase="step", silent_seconds=0.1)
            for n in range(9)
        )
    )
    one = watched(tmp_path)
    one.catch_up(seconds=9)
    assert one.heartbeats[0].event.step == 8
    assert one.events == []


def test_runs_are_found_below_a_folder_and_no_link_is_followed(tmp_path):
    runs, outside = tmp_path / "runs", tmp_path / "outside"
    for home in (runs / "a", runs / "demo" / "guarded", outside / "secret"):
        write_run(home, 2)
    (runs / "link").symlink_to(outside / "secret")
    library = Library([runs])
    library.read_all()
    assert sorted(library.runs) == ["a", "demo/guarded"]


def test_a_home_can_be_named_itself(tmp_path):
    write_run(tmp_path / "r7", 2)
    library = Library([tmp_path / "r7"])
    library.read_all()
    assert list(library.runs) == ["r7"]


def test_a_run_that_goes_is_forgotten(tmp_path):
    write_run(tmp_path / "a", 2)
    library = Library([tmp_path])
    library.read_all()
    (tmp_path / "a" / "journal" / "rank0.0.jsonl").unlink()
    assert library.scan()
    assert library.runs == {}


def test_a_folder_that_is_not_there_is_refused_with_words(tmp_path):
    with pytest.raises(SettingError, match="no folder"):
        Library([tmp_path / "nowhere"])
