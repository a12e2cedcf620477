"""JSON lines, arrays and trainer_state: every number exactly, NaN in all its spellings."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from steadytrain.errors import LogError
from steadytrain.readers.jsons import JsonLines, TrainerState
from steadytrain.readers.runs import Reader

GOLDEN = Path(__file__).parents[1] / "golden" / "logs"
EVENTS = Path(__file__).parents[1] / "golden" / "events"
NAN, INF = math.nan, math.inf
LINES_READER = JsonLines()
LINES = GOLDEN / "jsonl" / "nested.jsonl"
ARRAY = GOLDEN / "jsonl" / "array.json"
STATES = GOLDEN / "trainer_state"
STATE = STATES / "unfiltered" / "checkpoint-4" / "trainer_state.json"


def _read(path, reader=LINES_READER):
    (run,) = reader.read(path)
    return run


def _points(run, tag):
    return run.series[tag].steps.tolist(), run.series[tag].values.tolist()


def _lines(tmp_path, *lines):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return _read(path)


def _cuts_give_prefixes(reader, path, cut):
    whole, data = _read(path, reader), path.read_bytes()
    read = 0
    for size in range(0, len(data), 1 + len(data) // 300):
        cut.write_bytes(data[:size])
        reader.recognizes(cut, data[:size])
        try:
            run = _read(cut, reader)
        except LogError:
            continue
        read += 1
        for tag, series in run.series.items():
            num = len(series.steps)
            np.testing.assert_array_equal(series.steps, whole.series[tag].steps[:num])
            np.testing.assert_array_equal(series.values, whole.series[tag].values[:num])
    return read


@pytest.mark.parametrize("reader", [JsonLines(), TrainerState()], ids=lambda one: one.format)
def test_they_are_readers(reader):
    checked: Reader = reader
    assert checked.format in ("JSON Lines", "Hugging Face trainer_state")


@pytest.mark.parametrize("path", [LINES, ARRAY], ids=lambda path: path.name)
def test_lines_and_arrays_hold_the_same_points(path):
    assert JsonLines().recognizes(path, path.read_bytes())
    run = _read(path)
    steps, values = _points(run, "metrics/loss")
    assert steps == [1, 2, 3, 2]
    assert values == pytest.approx([10.8, NAN, -INF, 7.0], nan_ok=True)
    assert _points(run, "metrics/lr") == ([1, 2, 2], [1e-4, 2e-4, 4e-4])
    assert _points(run, "grad_norm") == ([3, 2], pytest.approx([NAN, INF], nan_ok=True))
    assert list(run.series) == ["metrics/loss", "metrics/lr", "grad_norm"]
    assert run.remarks == ("null left out, which some tools write for NaN: 'metrics/lr' (1)",)
    assert (run.name, run.format, run.source) == (str(path), "JSON Lines", path)


@pytest.mark.parametrize("path", [LINES, ARRAY], ids=lambda path: path.name)
def test_every_cut_gives_a_prefix_or_a_log_error(tmp_path, path):
    assert _cuts_give_prefixes(JsonLines(), path, tmp_path / "cut") > 50


def test_every_cut_of_a_trainer_state_gives_a_prefix_or_a_log_error(tmp_path):
    assert _cuts_give_prefixes(TrainerState(), STATE, tmp_path / "trainer_state.json") > 50


def test_the_log_of_a_trainer_is_read_and_belongs_to_the_folder_of_its_checkpoints():
    assert TrainerState().recognizes(STATE, STATE.read_bytes())
    run = _read(STATE, TrainerState())
    assert (run.name, run.order) == (str(STATES / "unfiltered"), "000000000004")
    assert run.series["loss"].steps.tolist() == [1, 2, 3, 4]
    assert run.series["loss"].values.tolist() == pytest.approx(
        [4.0, 0.87890625, 0.19834917783737183, NAN], nan_ok=True
    )
    assert _points(run, "learning_rate") == ([1, 2, 3, 4], [0.125, 0.09375, 0.0625, 0.03125])
    assert run.series["eval_loss"].steps.tolist() == [4]
    assert len(run.remarks) == 1


def test_a_filtered_trainer_shows_a_nan_only_in_the_gradient_and_the_reader_says_so():
    run = _read(STATES / "filtered" / "checkpoint-4" / "trainer_state.json", TrainerState())
    assert run.series["loss"].values[3] == 0.0
    assert math.isnan(run.series["grad_norm"].values[3])
    assert "logging_nan_inf_filter" in run.remarks[0]


def test_a_later_checkpoint_repeats_an_earlier_one_and_is_ordered_behind_it():
    early = _read(STATES / "filtered" / "checkpoint-2" / "trainer_state.json", TrainerState())
    late = _read(STATES / "filtered" / "checkpoint-4" / "trainer_state.json", TrainerState())
    assert early.name == late.name
    assert early.order < late.order
    assert late.series["loss"].values.tolist()[:2] == early.series["loss"].values.tolist()


def test_a_trainer_state_outside_a_checkpoint_belongs_to_its_own_folder(tmp_path):
    path = tmp_path / "trainer_state.json"
    path.write_bytes(STATE.read_bytes())
    assert _read(path, TrainerState()).name == str(tmp_path)


def test_a_torn_trainer_state_says_what_is_left(tmp_path):
    path = tmp_path / "trainer_state.json"
    path.write_bytes(STATE.read_bytes()[:600])
    run = _read(path, TrainerState())
    assert run.series["loss"].steps.tolist() == [1, 2]
    assert "the file is torn after 2 rows; the rest is lost" in run.remarks


def test_a_trainer_that_logged_nothing_is_a_log_error(tmp_path):
    path = tmp_path / "trainer_state.json"
    path.write_text('{"global_step": 5, "log_history": []}')
    assert TrainerState().recognizes(path, path.read_bytes())
    with pytest.raises(LogError, match="no curve to read"):
        _read(path, TrainerState())


def test_a_torn_line_is_dropped_counted_and_does_not_hide_the_next(tmp_path):
    run = _lines(
        tmp_path, '{"step": 1, "loss": 2}', '{"step": 2, "lo', "5", '{"step": 3, "loss": 4}'
    )
    assert _points(run, "loss") == ([1, 3], [2.0, 4.0])
    assert run.remarks == ("2 lines torn or no JSON object, left out (first: line 2)",)


def test_a_line_without_a_step_among_lines_with_one_is_left_out(tmp_path):
    run = _lines(
        tmp_path, '{"seed": 7}', "", '{"Step": 1.0, "loss": 2}', '{"step": "x", "loss": 3}'
    )
    assert _points(run, "loss") == ([1], [2.0])
    assert run.remarks == ("2 lines without a step left out (first: line 1)",)


def test_a_name_that_counts_up_stands_in_for_the_step(tmp_path):
    run = _lines(tmp_path, '{"loss": 2, "tokens": 10}', '{"loss": 1, "tokens": 20, "lr": 3}')
    assert _points(run, "loss") == ([10, 20], [2.0, 1.0])
    assert _points(run, "lr") == ([20], [3.0])
    assert run.remarks == ("'tokens' counts up and is taken as the step",)


def test_the_line_number_is_the_last_resort(tmp_path):
    run = _lines(tmp_path, '{"loss": 2.5}', '{"loss": 1.5}')
    assert _points(run, "loss") == ([1, 2], [2.5, 1.5])
    assert run.remarks == ("no name holds the step; the number of the line is used",)


def test_truths_texts_and_lists_are_no_points(tmp_path):
    run = _lines(tmp_path, '{"step": 1, "ok": true, "note": "9", "all": [1, 2], "loss": 2}')
    assert list(run.series) == ["loss"]
    assert run.remarks == ()


def test_numbers_past_every_range_are_infinite(tmp_path):
    big = "9" * 400
    run = _lines(tmp_path, f'{{"step": 1, "a": {big}, "b": -{big}, "c": 1e999, "d": -1e999}}')
    assert [_points(run, tag)[1] for tag in "abcd"] == [[INF], [-INF], [INF], [-INF]]


def test_a_step_past_every_range_is_no_step(tmp_path):
    run = _lines(tmp_path, '{"step": 99999999999999999999, "loss": 1}', '{"step": 1, "loss": 2}')
    assert _points(run, "loss") == ([1], [2.0])


def test_many_lines_are_read_like_few(tmp_path, monkeypatch):
    monkeypatch.setattr("steadytrain.readers.jsons.BLOCK_BYTES", 3000)
    draw = random.Random(0)
    rows = [{"step": step // 2, "loss": draw.gauss(0, 1), "n": step} for step in range(1000)]
    rows[300]["loss"] = NAN
    rows[500]["n"] = 10**400
    rows[700]["step"] = 350.0
    rows[900]["note"] = "so: NaN, he said"
    many = _lines(tmp_path, *map(json.dumps, rows))
    monkeypatch.setattr("steadytrain.readers.jsons.FEW_ROWS", 10**9)
    few = _lines(tmp_path, *map(json.dumps, rows))
    assert many.remarks == few.remarks == ()
    assert many.series["loss"].steps.tolist() == [int(row["step"]) for row in rows]
    np.testing.assert_array_equal(many.series["loss"].values, [row["loss"] for row in rows])
    np.testing.assert_array_equal(many.series["n"].values, few.series["n"].values)
    assert many.series["n"].values[500] == INF


def test_a_deep_object_does_not_overflow_the_stack(tmp_path):
    deep = '{"a": ' * 900 + "1" + "}" * 900
    deeper = '{"a": ' * 100000
    path = tmp_path / "deep.jsonl"
    path.write_text(f'{{"step": 1, "loss": 2, "x": {deep}}}\n{deeper}\n')
    JsonLines().recognizes(path, path.read_bytes())
    assert _points(_read(path), "loss") == ([1], [2.0])


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"step": 1, "loss": 2}\r\n{"step": 2, "loss": NaN}\r\n')
    assert JsonLines().recognizes(path, path.read_bytes())
    assert _points(_read(path), "loss") == ([1, 2], pytest.approx([2.0, NAN], nan_ok=True))


@pytest.mark.parametrize("golden", sorted(EVENTS.glob("*.json")), ids=lambda path: path.stem)
def test_our_own_journal_is_for_another_reader(tmp_path, golden):
    line = b'{"v":1,"seq":0,"at":1.5,' + golden.read_bytes().strip()[1:] + b"\n"
    assert not JsonLines().recognizes(tmp_path / "rank0.0.jsonl", line * 3)
    assert not JsonLines().recognizes(tmp_path / "rank0.0.jsonl", line[:40])
    spaced = json.dumps(json.loads(line)).encode() + b"\n"
    assert not JsonLines().recognizes(tmp_path / "rank0.0.jsonl", spaced * 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"{",
        b"[]",
        b"[1, 2, 3]\n[4, 5, 6]\n",
        random.Random(0).randbytes(5000),
        b"step,loss\n1,2\n",
        b"step: 1  loss: 2.5\n",
        b'{"lr": 0.1, "layers": 12}\n',
        b'{\n  "lr": 0.1,\n  "layers": 12\n}\n',
        b'{"text": "Once upon a time", "id": 5}\n{"text": "The end", "id": 6}\n',
        b'{"input_ids": [1, 2]}\n{"input_ids": [3, 4]}\n',
        STATE.read_bytes(),
        json.dumps(json.loads(STATE.read_bytes())).encode(),
        b'[{"name": "a"}, {"name": "b"}]',
        b"\xff\xfe{\0",
    ],
)
def test_what_holds_no_logged_numbers_is_not_recognized(tmp_path, data):
    assert not JsonLines().recognizes(tmp_path / "a.json", data)


@pytest.mark.parametrize("reader", [JsonLines(), TrainerState()], ids=lambda one: one.format)
@pytest.mark.parametrize(
    "data", [b"", b"{", b"[", b"7", b"\xff\xfe", b'{"log_history": "5"}', b"step,loss\n1,2\n"]
)
def test_a_file_without_a_row_is_a_log_error(tmp_path, reader, data):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    assert not reader.recognizes(path, data)
    with pytest.raises(LogError, match="no curve to read"):
        reader.read(path)


@pytest.mark.parametrize("reader", [JsonLines(), TrainerState()], ids=lambda one: one.format)
def test_a_file_that_cannot_be_opened_is_a_log_error(tmp_path, reader):
    with pytest.raises(LogError, match="cannot be read"):
        reader.read(tmp_path)


@pytest.mark.parametrize("path", [LINES, ARRAY], ids=lambda path: path.name)
def test_random_damage_never_raises_anything_else(tmp_path, path):
    draw, data = random.Random(3), path.read_bytes()
    damaged_path = tmp_path / "damaged"
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(draw.randint(1, 5)):
            damaged[draw.randrange(len(data))] = draw.choice(b'",:{}[]\n\0\xff9e-')
        damaged_path.write_bytes(damaged)
        JsonLines().recognizes(damaged_path, bytes(damaged))
        try:
            run = _read(damaged_path)
        except LogError:
            continue
        assert all(len(one.steps) == len(one.values) > 0 for one in run.series.values())
