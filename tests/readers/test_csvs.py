"""Tables of numbers as text: every cell exactly, whoever wrote them and whatever is odd in them."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from steadytrain.errors import LogError
from steadytrain.readers.csvs import Csv
from steadytrain.readers.runs import Reader

GOLDEN = Path(__file__).parents[1] / "golden" / "logs"
NAN = math.nan
TABLES = [*sorted(GOLDEN.glob("csv/*")), GOLDEN / "lightning" / "metrics.csv"]


def _read(path):
    (run,) = Csv().read(path)
    return run


def _points(run, tag):
    return run.series[tag].steps.tolist(), run.series[tag].values.tolist()


def _table(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return _read(path)


def _same(left, right):
    np.testing.assert_array_equal(left.steps, right.steps)
    np.testing.assert_array_equal(left.values, right.values)


def test_it_is_a_reader():
    reader: Reader = Csv()
    assert reader.format == "CSV"


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_golden_tables_are_recognized(path):
    assert Csv().recognizes(path, path.read_bytes())


def test_the_rows_of_lightning_are_mostly_gaps_and_a_gap_is_no_nan():
    run = _read(GOLDEN / "lightning" / "metrics.csv")
    assert _points(run, "loss_epoch") == ([2, 5], [3.375, 3.1875])
    steps, values = _points(run, "loss_step")
    assert steps == [0, 1, 2, 3, 4, 5, 4]
    assert values == pytest.approx([4.0, 3.875, 3.75, NAN, 3.5, 3.375, math.inf], nan_ok=True)
    assert _points(run, "val/acc") == ([4], [0.25])
    assert run.remarks == ()
    assert (run.name, run.format) == (str(run.source), "CSV")


def test_the_export_of_tensorboard_is_read():
    run = _read(GOLDEN / "csv" / "tensorboard.csv")
    steps, values = _points(run, "Value")
    assert steps == [0, 10, 20, 30, 40]
    assert values == pytest.approx([10.5, 9.25, NAN, math.inf, 8.125], nan_ok=True)
    assert _points(run, "Wall time")[1][0] == 1.7e9


def test_the_export_of_wandb_is_read():
    run = _read(GOLDEN / "csv" / "wandb.csv")
    assert list(run.series) == ["demo - loss", "demo - loss__MIN", "demo - loss__MAX"]
    steps, values = _points(run, "demo - loss__MIN")
    assert steps == [0, 1, 3]
    assert values == pytest.approx([10.8, 10.0, NAN], nan_ok=True)


def test_what_numpy_saves_under_a_commented_header_is_read():
    run = _read(GOLDEN / "csv" / "savetxt.txt")
    assert _points(run, "loss") == ([1, 2, 3], pytest.approx([10.5, NAN, 9.0], nan_ok=True))
    assert run.remarks == ()


def test_text_among_numbers_is_dropped_and_counted():
    run = _read(GOLDEN / "csv" / "plain.csv")
    assert run.remarks == ("1 cell of 'train loss' is no number (first: 'oops', line 4)",)
    steps, values = _points(run, "train loss")
    assert steps == [1, 2, 2]
    assert values == pytest.approx([10.8, NAN, -math.inf], nan_ok=True)
    assert _points(run, "lr") == ([1, 2, 3], [1e-4, 2e-4, 3e-4])


@pytest.mark.parametrize(
    "text",
    [
        "step,loss\n1,2.5\n2,3\n",
        "step\tloss\r\n1\t2.5\r\n2\t3\r\n",
        "\ufeffStep;loss\n1;2,5\n2;3\n",
        " step   loss\n  1  2.5\n 2    3\n",
        '"GLOBAL_STEP", "loss"\n"1", "2.5"\n"2", "3"\n',
        "# two runs, one note\nloss,trainer/global_step\n2.5,1.0\n3,2.0\n",
        ",step,loss\n0,1,2.5\n1,2,3\n",
        "step,loss,\n\n1,2.5,\n\n2,3,\n",
        "step,loss,time\n1,2.5,12:00\n2,3,12:01\n",
        "loss,_step,step\n2.5,7,1\n3,8,2\n",
        "loss,train/global_step\n2.5,1\n3,2\n",
    ],
)
def test_the_way_of_writing_changes_nothing(tmp_path, text):
    path = tmp_path / "log"
    path.write_text(text, newline="")
    assert Csv().recognizes(path, text.encode())
    assert _points(_read(path), "loss") == ([1, 2], [2.5, 3.0])


def test_without_a_header_the_first_column_is_the_step_and_it_is_said(tmp_path):
    run = _table(tmp_path, "\ufeff1,2.5,9\n2,3,9\n")
    assert list(run.series) == ["loss", "column 3"]
    assert _points(run, "loss") == ([1, 2], [2.5, 3.0])
    assert run.remarks == ("no header: the first column is the step, the second the loss",)


def test_a_column_that_counts_up_stands_in_for_the_step(tmp_path):
    run = _table(tmp_path, "loss,tokens\n2.5,1024\n3,2048\n")
    assert _points(run, "loss") == ([1024, 2048], [2.5, 3.0])
    assert run.remarks == ("column 'tokens' counts up and is taken as the step",)


@pytest.mark.parametrize("text", ["loss,lr\n2.5,1\n3,1\n", "loss\n2.5\n3\n", "2.5\n3\n"])
def test_the_row_number_is_the_last_resort(tmp_path, text):
    run = _table(tmp_path, text)
    assert _points(run, "loss") == ([1, 2], [2.5, 3.0])
    assert "no column names or counts the steps; the row number is used" in run.remarks


def test_steps_that_repeat_or_fall_are_kept(tmp_path):
    run = _table(tmp_path, "step,loss\n5,1\n5,2\n3,3\n-1,4\n")
    assert _points(run, "loss") == ([5, 5, 3, -1], [1, 2, 3, 4])


def test_every_spelling_of_nan_and_infinity_is_a_value(tmp_path):
    spelled = ["nan", "NaN", "inf", "Infinity", "+inf", "-Infinity", "-inf", "1e999"]
    rows = "".join(f"{step},{word},x\n" for step, word in enumerate(spelled))
    slow = _table(tmp_path, "step,loss,note\n" + rows)
    fast = _table(tmp_path, "step,loss,note\n" + rows.replace("x", "0"))
    up, down = math.inf, -math.inf
    assert _points(slow, "loss")[1] == pytest.approx(
        [NAN, NAN, up, up, up, down, down, up], nan_ok=True
    )
    _same(slow.series["loss"], fast.series["loss"])


def test_a_row_without_a_step_is_left_out_and_counted(tmp_path):
    run = _table(tmp_path, "step,loss\n1,2\n,3\n1.5,4\n2,5\n")
    assert _points(run, "loss") == ([1, 2], [2.0, 5.0])
    assert run.remarks == ("2 rows without a whole number as its step left out (first: row 2)",)


def test_a_row_of_another_width_is_left_out_and_counted(tmp_path):
    run = _table(tmp_path, "step,loss,lr\n1,2,1\n2,3,1\n3,1.54,2,1\n5\n6,7,1\n")
    assert _points(run, "loss") == ([1, 2, 6], [2.0, 3.0, 7.0])
    assert run.remarks == ("2 rows with too few or too many cells left out (first: line 4)",)


def test_a_header_that_comes_again_is_no_row(tmp_path):
    run = _table(tmp_path, "step,loss\n1,2\nstep,loss\n1,3\n")
    assert _points(run, "loss") == ([1, 1], [2.0, 3.0])
    assert run.remarks == ("1 header more among the rows (first: line 3)",)


def test_another_header_renames_the_columns_from_there_on(tmp_path):
    run = _table(tmp_path, "step,loss\n1,2\nlr,step,loss\n9,1,3\n9,2,4\n")
    assert _points(run, "loss") == ([1, 1, 2], [2.0, 3.0, 4.0])
    assert _points(run, "lr") == ([1, 2], [9.0, 9.0])
    assert "other columns begin at line 3" in run.remarks


def test_a_column_of_text_is_left_out_and_a_digit_group_is_no_number(tmp_path):
    run = _table(tmp_path, "step,loss,run\n1,2,a\n2,1_0,b\n")
    assert list(run.series) == ["loss"]
    assert set(run.remarks) == {
        "column 'run' holds no numbers and is left out",
        "1 cell of 'loss' is no number (first: '1_0', line 3)",
    }


def test_two_columns_of_one_name_are_told_apart(tmp_path):
    run = _table(tmp_path, "step,loss,loss\n1,2,3\n")
    assert list(run.series) == ["loss", "loss (column 3)"]


def test_a_comma_in_a_table_of_semicolons_is_a_decimal_point_and_it_is_said(tmp_path):
    run = _table(tmp_path, "step;loss;note\n1;2,5;a\n2;-1,25e3;\n")
    assert _points(run, "loss") == ([1, 2], [2.5, -1250.0])
    assert "a comma in a number is read as its decimal point" in run.remarks


def test_a_last_line_without_an_end_is_not_believed(tmp_path):
    run = _table(tmp_path, "step,loss\n1,2\n2,10")
    assert _points(run, "loss") == ([1], [2.0])
    assert run.remarks == ("the last line (3) has no end and is left out",)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_every_cut_gives_a_prefix_or_a_log_error(tmp_path, path):
    whole, data, cut = _read(path), path.read_bytes(), tmp_path / "cut.csv"
    for size in range(len(data)):
        cut.write_bytes(data[:size])
        try:
            run = _read(cut)
        except LogError:
            continue
        for tag, series in run.series.items():
            num = len(series.steps)
            np.testing.assert_array_equal(series.steps, whole.series[tag].steps[:num])
            np.testing.assert_array_equal(series.values, whole.series[tag].values[:num])


def test_a_large_table_is_read_alike_in_blocks_with_and_without_odd_cells(tmp_path, monkeypatch):
    monkeypatch.setattr("steadytrain.readers.jsons.BLOCK_BYTES", 1000)
    draw = random.Random(0)
    rows = [f"{step},{draw.choice(['', 'nan', draw.gauss(0, 1)])},{step}\n" for step in range(2000)]
    clean = _table(tmp_path, "step,loss,x\n" + "".join(rows))
    rows[700] = "\n" + rows[700]
    rows[1500] = '"1500",oops,1500\n'
    odd = _table(tmp_path, "step,loss,x\n" + "".join(rows))
    expected = [row.split(",") for row in rows if row.split(",")[1] not in ("", "oops")]
    assert odd.series["loss"].steps.tolist() == [int(row[0]) for row in expected]
    np.testing.assert_array_equal(
        odd.series["loss"].values, [float(value) for _, value, _ in expected]
    )
    _same(clean.series["x"], odd.series["x"])
    assert odd.remarks == ("1 cell of 'loss' is no number (first: 'oops', line 1503)",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n\n",
        b"step,loss\n",
        b"step,loss\n1,2",
        random.Random(0).randbytes(5000),
        b"\x1f\x8b\x08\x00" + random.Random(1).randbytes(500),
        b"PAR1\n1,2\n\0\0\n",
        b'{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.5}\n',
        b"[[1, 2],\n[3, 4]]\n",
        b"<a>\n1,2\n3,4\n",
        b"Once, there was a model,\nwhich learned, and learned,\nuntil it was wise.\n",
        b"step: 1  loss: 2.5\nstep: 2  loss: 2.4\n",
        b"[2026-01-01 00:00:00] iteration 10/ 100 | lm loss: 2.5 | grad norm: 1.0 |\n" * 3,
        b"1700000000000 2.5 1\n1700000001000 2.4 2\n",
        b"import math\nprint(1, 2)\n",
        b"name,team\nada,red\nbob,blue\n",
        b"\xff\xfes\0t\0e\0p\0,\0l\0\n\0001\0,\0002\0\n\0",
    ],
)
def test_what_is_no_table_is_not_recognized_and_reading_it_is_a_log_error(tmp_path, data):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    assert not Csv().recognizes(path, data)
    with pytest.raises(LogError, match="no curve to read"):
        Csv().read(path)


def test_zeros_that_a_power_cut_left_at_the_end_cost_one_line(tmp_path):
    data = b"step,loss\n1,2\n2,3\n" + bytes(50)
    assert Csv().recognizes(tmp_path, data)
    run = _table(tmp_path, data)
    assert _points(run, "loss") == ([1, 2], [2.0, 3.0])
    assert run.remarks == ("the last line (4) has no end and is left out",)


def test_a_table_without_a_number_beside_its_steps_says_what_it_found(tmp_path):
    with pytest.raises(LogError, match="column 'loss' holds no numbers"):
        _table(tmp_path, "step,loss\n1,a\n2,b\n")


def test_a_line_without_end_is_a_log_error(tmp_path, monkeypatch):
    monkeypatch.setattr("steadytrain.readers.jsons.BLOCK_BYTES", 10)
    monkeypatch.setattr("steadytrain.readers.jsons.LONGEST_LINE_BYTES", 50)
    with pytest.raises(LogError, match="no end of line 3"):
        _table(tmp_path, "step,loss\n1,2\n" + "3" * 500)


def test_a_file_that_cannot_be_opened_is_a_log_error(tmp_path):
    with pytest.raises(LogError, match="cannot be read"):
        _read(tmp_path)


def test_bytes_that_are_no_text_are_a_cell_that_is_no_number(tmp_path):
    run = _table(tmp_path, b"step,loss\n1,2\n2,\xff\xfe\n3,4\n")
    assert _points(run, "loss") == ([1, 3], [2.0, 4.0])
    assert len(run.remarks) == 1


def test_a_table_with_random_damage_never_raises_anything_else(tmp_path):
    draw, data = random.Random(2), (GOLDEN / "lightning" / "metrics.csv").read_bytes()
    path = tmp_path / "damaged.csv"
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(len(data))] = draw.choice(b'",;\t \n\r\0#\xff9e-')
        path.write_bytes(damaged)
        Csv().recognizes(path, bytes(damaged))
        try:
            run = _read(path)
        except LogError:
            continue
        assert all(len(one.steps) == len(one.values) > 0 for one in run.series.values())
