"""trackio: every number of every run, from the database and from what waits beside it."""

import json
import math
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from steadytrain.errors import LogError
from steadytrain.readers import sqlite
from steadytrain.readers.trackio import Trackio

GOLDEN = Path(__file__).parents[1] / "golden" / "logs" / "trackio"
DATABASE, INBOX = GOLDEN / "golden.db", GOLDEN / "00000000.jsonl"
VALUES = [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 5e-324, 7.0, 9.0]
TABLE = (
    "CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, "
    "timestamp TEXT NOT NULL, run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL)"
)
OLD_TABLE = TABLE.replace("run_id TEXT NOT NULL, ", "")
FOREIGN = {
    "empty": b"",
    "random": random.Random(0).randbytes(4096),
    "prose": b"The loss went up.\n",
    "csv": b"step,loss\n1,2.5\n",
    "jsonl": b'{"step": 1, "loss": 2.5}\n',
    "array": b"[1, 2]\n[3, 4]\n",
    "our journal": b'{"v":1,"seq":0,"kind":"record","project":"p"}\n',
    "odd kind": b'{"v":1,"kind":["metric"],"project":"p","run":"r"}\n',
    "tfevents": b"\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22brain.Event:2",
    "wandb": b":W&B\xe1\xbe\0",
    "mlflow": b"1700000000000 2.5 10\n",
    "torn SQLite": b"SQLite format 3\0" + bytes(80),
}


def _recognizes(path):
    return Trackio().recognizes(path, path.read_bytes()[: 64 * 1024])


def _points(run, tag):
    one = run.series[tag]
    assert one.steps.dtype == np.int64
    assert one.values.dtype == np.float64
    return one.steps.tolist(), [repr(value) for value in one.values.tolist()]


def _are_golden(run):
    assert _points(run, "train/loss") == ([*range(10), 3], [repr(value) for value in VALUES])
    assert _points(run, "opt/lr") == ([*range(10)], [repr(step / 1000) for step in range(10)])
    assert _points(run, "opt/deep/er") == ([*range(10)], [f"{step}.0" for step in range(10)])
    assert _points(run, "val/loss") == ([20], ["1.5"])
    assert _points(run, "huge") == ([3], [repr(2.0**62)])
    assert len(run.series) == 5
    assert (run.format, run.remarks) == ("trackio", ())


def _database(home, rows, name="project.db"):
    path = home / name
    with closing(sqlite3.connect(path)) as database:
        database.execute(TABLE)
        database.executemany(
            "INSERT INTO metrics (run_id, run_name, timestamp, step, metrics) "
            "VALUES (?, ?, '2026-01-01T00:00:00+00:00', ?, ?)",
            rows,
        )
        database.commit()
    return path


def _record(**changed):
    plain = {"v": 1, "kind": "metric", "project": "p", "run": "r", "run_id": "f" * 32}
    plain |= {"metrics": {"loss": 1.5}, "step": 1, "timestamp": "2026-01-01T00:00:00+00:00"}
    return json.dumps(plain | changed).encode() + b"\n"


def _inbox(home, octets):
    path = home / "00000007.jsonl"
    path.write_bytes(octets)
    return path


class TestDatabase:
    def test_every_number_is_read_as_trackio_wrote_it(self):
        assert _recognizes(DATABASE)
        runs = Trackio().read(DATABASE)
        for run in runs:
            _are_golden(run)
            assert run.source == DATABASE
        assert [run.name for run in runs] == [
            "plain (eb1167b3)",
            "plain (17e0aa3c)",
            "other (1775336d)",
        ]

    def test_reading_leaves_no_files_beside_it(self):
        before = sorted(GOLDEN.iterdir())
        Trackio().read(DATABASE)
        assert sorted(GOLDEN.iterdir()) == before

    def test_runs_that_log_at_once_keep_their_order(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sqlite, "SLICE_ROWS", 7)
        rows = []
        for step in (*range(10), *range(5, 20)):
            for run in ("b", "a"):
                metrics = {"loss": step + 0.5} | ({"val": {"loss": 1}} if step % 3 == 0 else {})
                rows.append((run * 32, "same", step, json.dumps(metrics).encode()))
        runs = Trackio().read(_database(tmp_path, rows))
        assert [run.name for run in runs] == ["same (bbbbbbbb)", "same (aaaaaaaa)"]
        for run in runs:
            assert run.series["loss"].steps.tolist() == [*range(10), *range(5, 20)]
            assert (run.series["loss"].values == run.series["loss"].steps + 0.5).all()
            assert run.series["val/loss"].steps.tolist() == [0, 3, 6, 9, 6, 9, 12, 15, 18]

    def test_what_is_no_number_is_left_out(self, tmp_path):
        table = {"_type": "trackio.histogram", "values": 3}
        odd = {"a": "text", "b": True, "c": None, "d": [1], "e": table, "f": {"g": table, "h": 2}}
        rows = [
            ("x", "r", 1, json.dumps(odd | {"i": 10**400})),
            ("x", "r", 2, json.dumps(odd | {"i": -(10**400)})),
            ("x", "r", 3, json.dumps(odd | {"i": {"j": "Infinity"}})),
            ("x", "r", 4, b'{"i": NaN}'),  # as older trackios wrote it
            ("x", "r", 5, "{}"),
        ]
        (run,) = Trackio().read(_database(tmp_path, rows))
        assert sorted(run.series) == ["f/h", "i", "i/j"]
        assert _points(run, "i") == ([1, 2, 4], ["inf", "-inf", "nan"])
        assert (_points(run, "i/j"), run.remarks) == (([3], ["inf"]), ())

    def test_torn_cells_are_counted(self, tmp_path):
        rows = [("x", "r", 1, '{"a": 1}'), ("x", "r", 2, '{"a": '), ("x", "r", "step", '{"a": 1}')]
        rows += [("x", "r", 3, "[1]"), ("x", "r", 4, 7), ("x", "r", 5, '{"a": 1}, {"a": 2}')]
        rows += [
            ("x", "r", 6, b'{"\xff": 1}'),
            ("x", "r", 7, '{"a":\n2}'),
            ("x", "r", 8, "[" * 9999),
        ]
        (run,) = Trackio().read(_database(tmp_path, rows))
        assert _points(run, "a") == ([1, 7], ["1.0", "2.0"])
        assert run.remarks == ("7 rows torn or without a whole step, left out (first: row 2)",)

    def test_nesting_without_end_does_no_harm(self, tmp_path):
        deep = '{"a":' * 500 + "1" + "}" * 500
        (run,) = Trackio().read(
            _database(tmp_path, [("x", "r", 1, deep), ("x", "r", 2, '{"b": 1}')])
        )
        assert list(run.series) == ["b"]

    def test_before_runs_had_an_id_the_project_and_the_name_tell_them_apart(self, tmp_path):
        path = tmp_path / "project.db"
        with closing(sqlite3.connect(path)) as database:
            database.execute(OLD_TABLE)
            database.execute("INSERT INTO metrics VALUES (1, 'now', 'r', 5, '{\"loss\": 2.5}')")
            database.commit()
        assert _recognizes(path)
        (run,) = Trackio().read(path)
        assert (run.name, run.order) == ("project/r", "now")
        assert _points(run, "loss") == ([5], ["2.5"])

    def test_rows_that_stand_only_in_the_wal_are_read(self, tmp_path):
        path = _database(tmp_path, [("x", "r", 1, '{"a": 1}')])
        with closing(sqlite3.connect(path)) as writer:
            writer.execute("PRAGMA journal_mode = wal")
            writer.execute(
                "INSERT INTO metrics (run_id, run_name, timestamp, step, metrics) "
                "VALUES ('x', 'r', '', 2, '{\"a\": 2}')"
            )
            writer.commit()
            (run,) = Trackio().read(path)
        assert _points(run, "a") == ([1, 2], ["1.0", "2.0"])

    def test_a_database_cut_anywhere_gives_the_rows_before_the_cut(self, tmp_path):
        rows = [("x", "r", step, json.dumps({"loss": step / 7})) for step in range(3000)]
        whole, cut, num_read = _database(tmp_path, rows).read_bytes(), tmp_path / "cut.db", []
        for size in range(0, len(whole), len(whole) // 20):
            cut.write_bytes(whole[:size])
            try:
                (run,) = Trackio().read(cut)
            except LogError:
                continue
            steps = run.series["loss"].steps
            assert (steps == np.arange(len(steps))).all()
            assert (run.series["loss"].values == steps / 7).all()
            assert any("damaged" in said for said in run.remarks)
            num_read.append(len(steps))
        assert len(num_read) > 15
        assert num_read == sorted(num_read)

    def test_flipped_bytes_never_raise_anything_but_a_log_error(self, tmp_path):
        dice, broken = random.Random(1), tmp_path / "broken.db"
        for _ in range(200):
            octets = bytearray(DATABASE.read_bytes())
            for _ in range(dice.randrange(1, 40)):
                octets[dice.randrange(16, len(octets))] = dice.randrange(256)
            broken.write_bytes(octets)
            _recognizes(broken)
            try:
                assert Trackio().read(broken)
            except LogError:
                continue

    def test_a_database_without_numbers_or_of_another_tool_is_an_error(self, tmp_path):
        with pytest.raises(LogError, match=r"no number in the metrics of a run.*trackio\.log"):
            Trackio().read(_database(tmp_path, [("x", "r", 1, '{"note": "text"}')]))
        with pytest.raises(LogError, match="no table 'metrics' as trackio makes it"):
            Trackio().read(GOLDEN.parent / "mlflow" / "mlflow.db")


class TestInbox:
    def test_every_number_is_read_as_trackio_wrote_it(self):
        assert _recognizes(INBOX)
        (run,) = Trackio().read(INBOX)
        _are_golden(run)
        assert (run.name, run.source) == ("other (1775336d)", INBOX)

    def test_its_runs_join_those_of_the_database(self, tmp_path):
        path = _database(tmp_path, [("f" * 32, "r", 0, '{"loss": 2.5}')])
        (kept,), (waiting,) = (
            Trackio().read(path),
            Trackio().read(_inbox(tmp_path, _record(timestamp="2026-01-02T00:00:00+00:00"))),
        )
        assert (kept.name, kept.format) == (waiting.name, waiting.format)
        assert kept.order < waiting.order

    def test_alerts_and_the_machine_are_passed_over(self, tmp_path):
        alert, machine = _record(kind="alert", title="t"), _record(kind="system_metric")
        path = _inbox(tmp_path, alert + machine + _record() + _record(step=0))
        assert _recognizes(path)
        (run,) = Trackio().read(path)
        assert (_points(run, "loss"), run.remarks) == (([1, 0], ["1.5", "1.5"]), ())

    def test_rows_without_a_step_are_counted_on(self, tmp_path):
        path = _inbox(tmp_path, _record(step=7) + _record(step=None) + _record(step=None))
        (run,) = Trackio().read(path)
        assert run.series["loss"].steps.tolist() == [7, 8, 9]
        assert run.remarks == ("rows without a step are counted from this file's largest",)

    def test_odd_lines_are_left_out_and_named(self, tmp_path):
        odd = [b"text\n", _record(step=1.5), _record(step=2**63), _record(metrics=[1])]
        path = _inbox(tmp_path, _record() + b"".join(odd) + b"\n" + _record(run_id=None, run=5))
        first, second = Trackio().read(path)
        assert first.remarks == ("4 lines torn or not of trackio (first: line 2)",)
        assert (first.name, second.name) == ("r (ffffffff)", "p/")

    def test_a_file_cut_anywhere_gives_the_lines_before_the_cut(self, tmp_path):
        whole = INBOX.read_bytes()
        begin = len(whole.split(b"\n")[0]) + 1
        for cut in range(begin, len(whole), (len(whole) - begin) // 20):
            (run,) = Trackio().read(_inbox(tmp_path, whole[:cut]))
            steps, values = _points(run, "train/loss")
            assert steps == [*range(10), 3][: len(steps)]
            assert values == [repr(value) for value in VALUES[: len(steps)]]

    def test_a_file_without_numbers_is_an_error(self, tmp_path):
        with pytest.raises(LogError, match=r"no number.*1 line torn.*trackio\.log first"):
            Trackio().read(_inbox(tmp_path, _record(kind="alert") + b"{"))
        with pytest.raises(LogError, match="cannot be read"):
            Trackio().read(tmp_path / "absent")


@pytest.mark.parametrize("octets", FOREIGN.values(), ids=FOREIGN)
def test_files_of_others_are_not_recognized(tmp_path, octets):
    path = tmp_path / "file"
    path.write_bytes(octets)
    assert not Trackio().recognizes(path, octets)


def test_the_database_of_mlflow_is_not_recognized():
    assert not _recognizes(GOLDEN.parent / "mlflow" / "mlflow.db")
