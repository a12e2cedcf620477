"""MLflow's folder and its database: every point, NaN and infinity included, in the order logged."""

import math
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from steadytrain.errors import LogError
from steadytrain.readers import sqlite
from steadytrain.readers.mlflow import MLflowFiles, MLflowSQLite

GOLDEN = Path(__file__).parents[1] / "golden" / "logs" / "mlflow"
DATABASE = GOLDEN / "mlflow.db"
LOSS = GOLDEN / "files" / "f728b4fa42485e3a0a5d2f346baa9455" / "metrics" / "train" / "loss"
QUOTED = GOLDEN / "files" / "eb1167b367a9c3787c65c1e582e2e662" / "metrics" / "lr"
STEPS = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 40]
VALUES = [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 5e-324, 7.0, 1.5]
LINE = b"1700000000000 2.5 10\n"
TABLE = (
    "CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32), "
    "step BIGINT, is_nan BOOLEAN)"
)
FOREIGN = {
    "empty": b"",
    "random": random.Random(0).randbytes(4096),
    "prose": b"The loss went up.\nThen it went down again.\n",
    "space-separated table": b"1 2.5 10\n2 2.4 20\n",
    "time and value": b"1700000000000 2.5\n",
    "seconds": b"1700000000 2.5 10\n",
    "csv": b"step,loss\n1,2.5\n",
    "jsonl": b'{"step": 1, "loss": 2.5}\n',
    "tfevents": b"\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22brain.Event:2",
    "wandb": b":W&B\xe1\xbe\0",
    "metric of a model": b"1700000000000 2.5 10 0123456789abcdef0123456789abcdef\n",
    "torn SQLite": b"SQLite format 3\0" + bytes(80),
}


def _recognizes(reader, path):
    return reader.recognizes(path, path.read_bytes()[: 64 * 1024])


def _file(home, octets, name="loss"):
    path = home / "0123" / "metrics" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    return path


def _points(run, tag="train/loss"):
    one = run.series[tag]
    assert one.steps.dtype == np.int64
    assert one.values.dtype == np.float64
    return one.steps.tolist(), [repr(value) for value in one.values.tolist()]


def _database(home, rows, name="mlflow.db", mode="delete"):
    path = home / name
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute(TABLE)
        _insert(database, rows)
    return path


def _insert(database, rows):
    database.executemany("INSERT INTO metrics VALUES (?, ?, 1700000000000, ?, ?, ?)", rows)
    database.commit()


def _steps(path):
    return [one.series["loss"].steps.tolist() for one in MLflowSQLite().read(path)]


class TestFiles:
    def test_every_point_is_read_as_mlflow_wrote_it(self):
        (run,) = MLflowFiles().read(LOSS)
        assert _points(run) == (STEPS, [repr(value) for value in VALUES])
        assert (run.format, run.source, run.remarks) == ("MLflow files", LOSS, ())

    def test_the_files_of_a_run_have_one_name_and_another_run_of_that_name_has_not(self):
        names = {}
        for path in sorted(GOLDEN.glob("files/*/metrics/**/*")):
            if path.is_file():
                assert _recognizes(MLflowFiles(), path)
                names.setdefault(MLflowFiles().read(path)[0].name, []).append(path)
        assert [len(paths) for paths in names.values()] == [2, 2, 2]
        assert sorted(names) == ["it's: quoted (eb1167b3)", "plain (f728b4fa)", "plain (f7c1bd87)"]

    def test_without_meta_yaml_the_folder_of_the_run_is_its_name(self, tmp_path):
        (run,) = MLflowFiles().read(_file(tmp_path, LINE, "val/loss"))
        assert (run.name, list(run.series)) == ("0123", ["val/loss"])

    def test_a_key_may_hold_a_folder_called_metrics(self, tmp_path):
        path = _file(tmp_path, LINE, "eval/metrics/loss")
        (tmp_path / "0123" / "meta.yaml").write_text('run_id: x\nrun_name: "a \\"b\\""\n')
        (run,) = MLflowFiles().read(path)
        assert (run.name, list(run.series)) == ('a "b" (0123)', ["eval/metrics/loss"])

    def test_lines_of_a_data_set_and_of_old_versions_are_read(self, tmp_path):
        path = _file(tmp_path, b"1700000000000 2.5 10 data 5f1a\n1700000000001 nan\n")
        assert not _recognizes(MLflowFiles(), path)
        (tmp_path / "0123" / "meta.yaml").write_text("run_id: x\n")
        assert _recognizes(MLflowFiles(), path)
        assert _points(MLflowFiles().read(path)[0], "loss") == ([10, 0], ["2.5", "nan"])

    def test_torn_lines_are_left_out_and_named(self, tmp_path):
        torn = b"17000000\n1700000000000 2.4 11700000000001 2.3 30\n1700000000000 2.\xff 1\n"
        run = MLflowFiles().read(_file(tmp_path, LINE + torn + LINE + b"1700000000000 2.2 4"))[0]
        assert _points(run, "loss") == ([10, 10], ["2.5", "2.5"])
        assert run.remarks == ("4 lines torn or not 'time value step', left out (first: line 2)",)

    def test_a_file_cut_anywhere_gives_the_lines_before_the_cut(self, tmp_path):
        whole = LOSS.read_bytes()
        for cut in range(len(whole.split(b"\n")[0]) + 1, len(whole), 11):
            run = MLflowFiles().read(_file(tmp_path, whole[:cut]))[0]
            steps, values = _points(run, "loss")
            num_lines = whole[:cut].count(b"\n")
            assert (steps, values) == (STEPS[:num_lines], [repr(x) for x in VALUES[:num_lines]])

    @pytest.mark.parametrize("octets", [b"", b"\n\n", b"1700000000000 2.5 1", b"text\n"])
    def test_a_file_without_a_whole_line_is_an_error_that_says_what_a_line_is(
        self, tmp_path, octets
    ):
        with pytest.raises(LogError, match=r"no line of a metric of MLflow.*A line is '17000"):
            MLflowFiles().read(_file(tmp_path, octets))

    def test_a_time_that_is_no_date_is_believed_beside_meta_yaml_only(self, tmp_path):
        path = _file(tmp_path, b"0 2.5 10\n1 2.4 20\n")
        assert not _recognizes(MLflowFiles(), path)
        (tmp_path / "0123" / "meta.yaml").write_text("run_id: x\n")
        assert _recognizes(MLflowFiles(), path)
        assert MLflowFiles().read(path)[0].name == "0123"

    def test_numbers_beyond_their_column_do_no_harm(self, tmp_path):
        lines = b"1700000000000 1e999 1\n1700000000000 2 99999999999999999999\n9999999999999999999999 3 3\n"
        run = MLflowFiles().read(_file(tmp_path, lines))[0]
        assert _points(run, "loss") == ([1, 3], ["inf", "3.0"])


class TestSQLite:
    def test_every_point_is_read_as_mlflow_wrote_it(self):
        assert _recognizes(MLflowSQLite(), DATABASE)
        runs = MLflowSQLite().read(DATABASE)
        for run in runs:
            # SQL knows no negative zero.
            assert _points(run) == (STEPS, [repr(value + 0.0) for value in VALUES])
            assert _points(run, "lr") == ([0, 1, 2, 0], ["0.001", "0.001", "0.001", "0.002"])
            assert (run.format, run.source, run.remarks) == ("MLflow SQLite", DATABASE, ())
        assert [run.name for run in runs] == [
            "plain (e443df78)",
            "it's: quoted (23a7711a)",
            "plain (1846d424)",
        ]

    def test_runs_that_log_at_once_are_told_apart_and_keep_their_order(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sqlite, "SLICE_ROWS", 7)
        rows = [
            (key, step + 0.5, run, step, 0)
            for step in (*range(10), *range(5, 20))
            for run in "ba"
            for key in ("loss", "lr")
        ]
        runs = MLflowSQLite().read(_database(tmp_path, rows))
        assert [run.name for run in runs] == ["b", "a"]
        for run in runs:
            assert run.series["loss"].steps.tolist() == [*range(10), *range(5, 20)]
            assert (run.series["lr"].values == run.series["loss"].steps + 0.5).all()

    def test_cells_that_are_no_numbers_are_counted(self, tmp_path):
        rows = [("loss", 1.5, "a", 1, 0), ("loss", "text", "a", 2, 0), ("loss", 2, "a", 2.5, 0)]
        rows += [("loss", 1.0, None, 4, 0), (None, 1.0, "a", 5, 0), ("loss", 3, "a", 6, 0)]
        (run,) = MLflowSQLite().read(_database(tmp_path, rows))
        assert _points(run, "loss") == ([1, 6], ["1.5", "3.0"])
        assert run.remarks == ("4 rows without a number left out (first: row 2)",)

    def test_a_run_without_a_sound_row_is_not_there(self, tmp_path):
        odd = [("loss", "text", "a", 1, 0), ("lr", "text", "b", 1, 0)]
        (run,) = MLflowSQLite().read(_database(tmp_path, [*odd, ("loss", 1.0, "b", 2, 0)]))
        assert (run.name, list(run.series)) == ("b", ["loss"])
        with pytest.raises(LogError, match="no metric"):
            MLflowSQLite().read(_database(tmp_path, odd, "odd.db"))

    def test_a_name_kept_in_a_tag_is_found(self, tmp_path):
        path = _database(tmp_path, [("loss", 1.5, "f" * 32, 1, 0)])
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE runs (run_uuid TEXT, name TEXT)")
            database.execute("CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT)")
            database.execute("INSERT INTO runs VALUES (?, '')", ("f" * 32,))
            database.execute("INSERT INTO tags VALUES ('mlflow.runName', 'old', ?)", ("f" * 32,))
            database.commit()
        assert MLflowSQLite().read(path)[0].name == "old (ffffffff)"

    def test_a_database_cut_anywhere_gives_the_rows_before_the_cut(self, tmp_path):
        rows = [("loss", step / 7, "a", step, 0) for step in range(4000)]
        whole = _database(tmp_path, rows).read_bytes()
        cut, num_read = tmp_path / "cut.db", []
        for size in range(0, len(whole), len(whole) // 20):
            cut.write_bytes(whole[:size])
            try:
                (run,) = MLflowSQLite().read(cut)
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
            _recognizes(MLflowSQLite(), broken)
            try:
                assert MLflowSQLite().read(broken)
            except LogError:
                continue

    def test_a_database_without_points_or_of_another_tool_is_an_error(self, tmp_path):
        with pytest.raises(LogError, match=r"no metric in its table.*mlflow\.log_metric"):
            MLflowSQLite().read(_database(tmp_path, []))
        path = tmp_path / "other.db"
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE metrics (name TEXT)")
        assert not _recognizes(MLflowSQLite(), path)
        with pytest.raises(LogError, match="no table 'metrics' as MLflow makes it"):
            MLflowSQLite().read(path)

    def test_a_view_called_metrics_is_not_run(self, tmp_path):
        path = tmp_path / "view.db"
        with closing(sqlite3.connect(path)) as database:
            database.execute(
                "CREATE VIEW metrics AS SELECT 'k' AS key, 1.0 AS value, 1 AS timestamp, "
                "'r' AS run_uuid, 1 AS step, 0 AS is_nan"
            )
        assert not _recognizes(MLflowSQLite(), path)

    def test_what_is_no_database_is_an_error_with_advice(self, tmp_path):
        path = tmp_path / "bad.db"
        path.write_bytes(b"SQLite format 3\0" + random.Random(2).randbytes(5000))
        with pytest.raises(LogError, match=r"no usable SQLite database.*missing.*\.recover"):
            MLflowSQLite().read(path)
        with pytest.raises(LogError, match="cannot be read"):
            MLflowSQLite().read(tmp_path / "absent.db")


class TestWhileSomebodyWrites:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch):
        monkeypatch.setattr(sqlite, "PATIENCE_S", 0.01)

    def test_a_database_at_rest_gets_no_files_beside_it(self, tmp_path):
        path = _database(tmp_path, [("loss", 1.5, "a", 1, 0)], "a ?#%.db", mode="wal")
        before = path.read_bytes()
        assert _recognizes(MLflowSQLite(), path)
        assert _steps(path) == [[1]]
        assert list(tmp_path.iterdir()) == [path]
        assert path.read_bytes() == before

    def test_rows_that_stand_only_in_the_wal_are_read(self, tmp_path):
        path = _database(tmp_path, [("loss", 1.5, "a", 1, 0)], mode="wal")
        with closing(sqlite3.connect(path)) as writer:
            _insert(writer, [("loss", 2.5, "a", 2, 0)])
            assert _steps(path) == [[1, 2]]
            _insert(writer, [("loss", 2.5, "a", 3, 0)])
            assert _steps(path) == [[1, 2, 3]]

    def test_the_whole_table_may_stand_in_the_wal(self, tmp_path):
        path = tmp_path / "mlflow.db"
        with closing(sqlite3.connect(path)) as writer:
            writer.execute("PRAGMA journal_mode = wal")
            writer.execute(TABLE)
            _insert(writer, [("loss", 2.5, "a", 2, 0)])
            assert _recognizes(MLflowSQLite(), path)
            assert _steps(path) == [[2]]

    def test_a_write_in_the_midst_of_reading_makes_it_read_again(self, tmp_path):
        path = _database(tmp_path, [("loss", 1.5, "a", 1, 0)], mode="wal")
        asked = []

        def question(database):
            found = [row[1] for rows in database.slices("metrics", "step") for row in rows]
            if not asked:
                with closing(sqlite3.connect(path)) as writer:
                    _insert(writer, [("loss", 1.5, "a", 2, 0)])
            asked.append(found)
            return found

        assert sqlite.consult(path, question) == [1, 2]
        assert asked == [[1], [1, 2]]

    def test_an_exclusive_lock_does_not_hide_what_was_committed(self, tmp_path):
        path = _database(tmp_path, [("loss", 1.5, "a", 1, 0)])
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("BEGIN EXCLUSIVE")
            (run,) = MLflowSQLite().read(path)
        assert run.series["loss"].steps.tolist() == [1]
        assert "could not be locked" in run.remarks[0]

    def test_an_exclusive_wal_is_read_from_a_copy(self, tmp_path):
        path = _database(tmp_path, [("loss", 1.5, "a", 1, 0)], mode="wal")
        with closing(sqlite3.connect(path)) as writer:
            writer.execute("PRAGMA locking_mode = EXCLUSIVE")
            _insert(writer, [("loss", 1.5, "a", 2, 0)])
            (run,) = MLflowSQLite().read(path)
        assert run.series["loss"].steps.tolist() == [1, 2]
        assert run.remarks == ("the database could not be locked; a copy was read",)

    def test_a_transaction_that_a_crash_cut_off_is_not_read(self, tmp_path):
        path = _database(tmp_path, [("loss", 1.5, "a", step, 0) for step in range(3000)])
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("PRAGMA cache_size = 2")  # so that pages are written before the commit
            writer.execute("BEGIN")
            writer.execute("UPDATE metrics SET step = -1")
            (tmp_path / "crash").mkdir()
            for one in (path, tmp_path / "mlflow.db-journal"):
                shutil.copyfile(one, tmp_path / "crash" / one.name)
        crashed = tmp_path / "crash" / "mlflow.db"
        before = crashed.read_bytes()
        assert _steps(crashed) == [list(range(3000))]
        assert crashed.read_bytes() == before


@pytest.mark.parametrize("octets", FOREIGN.values(), ids=FOREIGN)
def test_files_of_others_are_not_recognized(tmp_path, octets):
    path = _file(tmp_path, octets)
    assert not MLflowFiles().recognizes(path, octets)
    assert not MLflowSQLite().recognizes(path, octets)


def test_neither_takes_the_files_of_the_other():
    assert not _recognizes(MLflowFiles(), DATABASE)
    assert not _recognizes(MLflowSQLite(), QUOTED)
    assert not _recognizes(MLflowSQLite(), GOLDEN.parent / "trackio" / "golden.db")
