"""How a run is: by a journal that is written, dead, torn or of a later version."""

import json
import math

import pytest

from steadytrain import cli, status, vitals
from steadytrain import events as ev
from steadytrain.errors import JournalError
from steadytrain.news import News, Step
from steadytrain.progress import Beacon
from steadytrain.vitals import Vitals
from tests.samples import record
from tests.tell.makers import OPEN, Run, closed, diagnosed, opened


@pytest.fixture(autouse=True)
def closed_journals():
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path).begin(steps=100).train(1, 20, seconds=2.0)


def look(run):
    found = Vitals(home=run.home, clock=run.clock)
    found.refresh()
    return found


def saved(step):
    return ev.CheckpointSaved(
        attempt=1,
        step=step,
        draw=0,
        path="p",
        bytes=1,
        digest="d",
        seconds=1.0,
        blocked_seconds=0.1,
    )


class TestPace:
    def test_what_is_left_follows_from_the_recent_updates(self, run):
        found = look(run)
        assert found.state == "running"
        assert found.step_seconds == 2.0
        assert found.seconds_left == 160.0
        assert found.tokens_per_second == 1500.0
        assert found.timesheet.tokens == 60_000
        assert found.domain_losses() == {"zh": 2.0, "en": 2.5, "code": 1.5}

    def test_a_rollback_takes_updates_and_tokens_back(self, run):
        run.write(ev.AttemptBegan(attempt=2, step=15, draw=480, cause="rollback"))
        run.train(16, 18, attempt=2)
        found = look(run)
        assert (found.timesheet.num_updates, found.timesheet.num_lost, found.timesheet.tokens) == (
            23,
            5,
            54_000,
        )
        assert found.timesheet.tokens_lost == 15_000
        assert found.kept_share == pytest.approx(18 / 23)

    def test_a_restart_that_is_killed_again_counts_each_update_once(self, run):
        for attempt in (2, 3):
            run.write(ev.AttemptBegan(attempt=attempt, step=10, draw=320, cause="restart"))
            run.train(11, 15, attempt=attempt)
        found = look(run)
        assert (found.timesheet.num_updates, found.timesheet.num_lost, found.timesheet.tokens) == (
            30,
            15,
            45_000,
        )
        assert found.num_restarts == 2

    def test_updates_that_were_held_back_are_counted(self, run):
        run.write(record(21, (math.nan, 2.5, 1.5), committed=False, loss=math.nan))
        found = look(run)
        assert (found.timesheet.num_updates, found.timesheet.num_skipped) == (21, 1)
        assert math.isnan(found.record.loss)

    def test_reading_in_pieces_gives_the_same_as_at_once(self, tmp_path):
        run = Run(tmp_path)
        found = Vitals(home=tmp_path, clock=run.clock)
        run.begin()
        for step in range(1, 30):
            run.train(step, step)
            if step % 10 == 0:
                run.write(ev.AttemptBegan(attempt=step, step=step - 3, draw=0, cause="rollback"))
            found.refresh()
        again = look(run)
        assert found.record == again.record
        assert found.timesheet.account() == again.timesheet.account()


class TestState:
    def test_a_home_without_a_run_is_told_so(self, tmp_path):
        with pytest.raises(JournalError, match="holds no journal"):
            vitals.read(tmp_path)

    def test_a_run_that_stopped_writing_is_silent(self, run):
        run.now += 299
        assert look(run).state == "running"
        run.now += 2
        assert look(run).state == "silent"

    def test_a_rank_that_beats_here_is_not_silent(self, run):
        beacon = Beacon(run.home, 0, 0)
        beacon.beat("checkpoint", 20)
        run.now += 9999
        found = look(run)
        assert found.state == "running"
        assert (found.beats[0].phase, found.beats[0].is_alive) == ("checkpoint", True)
        beacon.close()

    def test_a_death_is_down_until_it_moves_again(self, run):
        with_supervisor = Run(run.home, now=run.now, writer="supervisor")
        with_supervisor.write(
            ev.ProcessExited(generation=0, rank=0, pid=7, signal="SIGKILL", step=20), seconds=1
        )
        assert look(run).state == "down"
        run.now += 5
        run.write(ev.AttemptBegan(attempt=2, step=20, draw=640, cause="restart"))
        assert look(run).state == "running"
        with_supervisor.write(ev.GiveUp(generation=1, cause="c", why="w"), seconds=10)
        assert look(run).state == "gave up"

    def test_the_end_is_the_end(self, run):
        run.write(ev.RunEnded(attempt=1, step=20))
        run.now += 1e6
        assert look(run).state == "ended"


class TestADamagedJournal:
    def test_a_torn_last_line_is_waited_for(self, run):
        path = next((run.home / "journal").glob("rank0.*"))
        whole = path.read_bytes()
        path.write_bytes(whole[:-30])
        found = look(run)
        assert (found.standing.step, found.news.num_damaged) == (19, 0)
        path.write_bytes(whole)
        found.refresh()
        assert found.standing.step == 20

    def test_damaged_lines_are_counted_and_passed_over(self, run):
        path = next((run.home / "journal").glob("rank0.*"))
        lines = path.read_bytes().splitlines(keepends=True)
        lines[5] = lines[5][:40] + b"\n"
        lines[7] = b"\x00" * 30 + b"\n"
        lines.insert(9, b'{"v":1,"seq":5,"at":1.0,"kind":"Dreamt"}\n')
        path.write_bytes(b"".join(lines))
        found = look(run)
        assert found.standing.step == 20
        assert found.timesheet.num_updates == 18
        assert (found.news.num_damaged, found.news.num_unknown) == (2, 1)

    def test_a_file_that_vanishes_is_no_end(self, run):
        news = News(run.home)
        news.poll()
        for path in (run.home / "journal").glob("rank0.*"):
            path.unlink()
        assert news.poll() == []

    def test_each_line_is_read_once_however_it_arrives(self, run):
        path = next((run.home / "journal").glob("rank0.*"))
        whole = path.read_bytes()
        news = News(run.home)
        steps = []
        for end in range(0, len(whole) + 1, 97):
            path.write_bytes(whole[:end])
            steps += [one.step for one in news.poll() if isinstance(one, Step)]
        path.write_bytes(whole)
        steps += [one.step for one in news.poll() if isinstance(one, Step)]
        assert steps == list(range(1, 21))


def command(capsys, *arguments):
    status = cli.main([str(one) for one in arguments])
    return status, capsys.readouterr().out


class TestStatus:
    def test_it_says_in_some_lines_how_the_run_is(self, capsys, tmp_path, run):
        run.write(saved(18), opened(), diagnosed())
        run.book.close()
        status, out = command(capsys, "status", tmp_path)
        assert status == 1  # nothing has moved since the year of this clock
        assert "SILENT, step 20 / 100 (20.0%), mode act" in out
        assert "zh 2.0000  en 2.5000  code 1.5000" in out
        assert "of step 18" in out
        assert "OPEN: incident-1 since step 12: bad text (zh), 95%" in out

    def test_the_same_in_chinese(self, capsys, tmp_path, run):
        run.write(opened(), diagnosed(), closed(), ev.RunEnded(attempt=1, step=20))
        status, out = command(capsys, "status", tmp_path, "--lang", "zh")
        assert status == 0
        assert "\u5df2\u7ed3\u675f" in out
        assert "loss" not in out

    def test_a_mirror_that_fails_is_named_until_it_works(self, capsys, run):
        copied = ev.CheckpointMirrored(attempt=1, step=10, path="p", bytes=1, seconds=1.0)
        run.write(copied, *[ev.MirrorFailed(step=20, reason="TimeoutError: no answer")] * 2)
        cli.main(["status", str(run.home)])
        said = capsys.readouterr().out
        assert "mirror      of step 10" in said
        assert "2 in a row FAILED" in said
        assert "step 20: the mirror failed: TimeoutError: no answer" in said
        cli.main(["status", str(run.home), "--json"])
        assert json.loads(capsys.readouterr().out)["mirror"]["failed_in_a_row"] == 2
        run.write(copied)
        cli.main(["status", str(run.home)])
        assert "failed" not in capsys.readouterr().out.lower()

    def test_the_same_as_json_without_a_nan(self, capsys, tmp_path, run):
        run.write(record(21, (math.nan, 2.5, 1.5), loss=math.nan, committed=False), opened())
        _, out = command(capsys, "status", tmp_path, "--json")
        shown = json.loads(out, parse_constant=lambda word: pytest.fail(word))
        assert (shown["step"], shown["updates_skipped"], shown["loss"]) == (21, 1, None)
        assert shown["open"][0]["id"] == "incident-1"

    def test_no_run_is_said_in_words(self, capsys, tmp_path):
        assert cli.main(["status", str(tmp_path)]) == 2
        assert "such as runs/r1" in capsys.readouterr().err


class TestWatch:
    def test_it_draws_once_where_nobody_looks_on(self, capsys, tmp_path, run):
        pytest.importorskip("rich")
        run.write(opened(), diagnosed())
        status, out = command(capsys, "watch", tmp_path)
        assert status == 1
        assert "incident-1 opened, first affected step 12" in out
        assert "OPEN: incident-1" in out

    def test_it_draws_what_came_since_on_any_journal(self, tmp_path):
        pytest.importorskip("rich")
        from rich.console import Console

        from steadytrain.screen import Screen

        console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        screen = Screen(tmp_path)
        screen.refresh()
        console.print(screen.draw())
        run = Run(tmp_path).begin().train(1, 5)
        run.write(
            ev.Advice(topic="t", text="[red]not markup[/red] \x1b[2J"),
        )
        screen.refresh()
        console.print(screen.draw())
        shown = console.export_text()
        console.file.close()
        assert "no run" in shown
        assert "[red]not markup[/red] ?[2J" in shown
        assert "step 5" in shown

    def test_a_spike_of_the_last_steps_stands_out(self):
        pytest.importorskip("rich")
        from steadytrain.screen import bars

        assert bars([1.0, 1.0, 9.0, math.inf]) == "\u2581\u2581\u2588x"
        assert bars([]) == ""


def test_how_old_the_copies_on_neighbour_hosts_are(tmp_path):
    found = Vitals(home=tmp_path, clock=lambda: 130.0)
    beat = ev.Heartbeat(
        generation=0, rank=0, step=50, phase="forward", silent_seconds=0.1, copied_step=40,
        copied_seconds=5.0,
    )  # fmt: skip
    found._note_processes(beat, 100.0)
    assert (found.copied_step, found.copied_at) == (40, 95.0)
    rows = dict(status.facts(found, "en"))
    assert rows["neighbours"] == "of step 40, 35 s ago"
    assert "邻机副本" in dict(status.facts(found, "zh"))
