"""What a run logged with W&B is read from its own file, as wandb 0.31.0 wrote it or by hand."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from steadytrain.errors import LogError
from steadytrain.readers.wandb import SIGNATURE, WandB
from tests.readers.test_protobuf import double, log_of, text, varint, whole

GOLDEN = Path(__file__).parents[1] / "golden" / "logs" / "wandb"
PLAIN = GOLDEN / "run-plain0001.wandb"
LOSSES = [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 5e-324, 7.0]


def item(names, value, key=2):
    return text(1, b"".join(text(key, name) for name in names.split("/")) + text(16, value))


def row(*items, step=None):
    return text(2, b"".join(items) + (b"" if step is None else text(2, whole(1, step))))


def read(tmp_path, *records):
    path = tmp_path / "run-made.wandb"
    path.write_bytes(log_of(SIGNATURE, 0, [whole(1, 7) + record for record in records]))
    (run,) = WandB().read(path)
    return run


def points(run):
    return {
        tag: [*zip(s.steps.tolist(), s.values.tolist(), strict=True)]
        for tag, s in run.series.items()
    }


def same(series, steps, values):
    assert series.steps.dtype == np.int64
    assert series.values.dtype == np.float64
    assert series.steps.tolist() == list(steps)
    # repr tells -0.0 from 0.0 and takes NaN for NaN.
    assert list(map(repr, series.values.tolist())) == list(map(repr, values))


class TestAFileOfWandb:
    def test_every_scalar_is_read_as_it_was_logged(self):
        (run,) = WandB().read(PLAIN)
        same(run.series["train/loss"], range(10), LOSSES)
        same(run.series["opt.lr"], range(10), [step / 1000 for step in range(10)])
        same(run.series["opt.deep.er"], range(10), map(float, range(10)))
        same(run.series["val/loss"], [20, 25], [1.5, math.nan])
        same(run.series["update"], [20, 25], [40.0, 50.0])
        same(run.series["huge"], [25], [2.0**70])
        same(run.series["spelled"], [26], [math.inf])
        same(run.series["n" * 130], [27], [1.0])
        same(run.series["verlust \N{GREEK SMALL LETTER EPSILON}"], [25], [0.5])

    def test_texts_pictures_histograms_and_its_own_bookkeeping_are_no_scalars(self):
        (run,) = WandB().read(PLAIN)
        assert len(run.series) == 9
        assert not [tag for tag in run.series if tag.startswith(("_", "page", "weights", "note"))]

    def test_the_run_is_told_by_name_and_id(self):
        (run,) = WandB().read(PLAIN)
        assert (run.name, run.format, run.source) == ("plain (plain0001)", "W&B", PLAIN)
        assert run.order[:3] == "001"

    def test_another_axis_and_what_was_no_number_are_remarked(self):
        (run,) = WandB().read(PLAIN)
        assert run.remarks == (
            "W&B draws 'val/*' over 'update'; the steps here are its own",
            "2 values of 'train/loss' left out: no number, first null",
        )

    def test_values_written_in_both_forms_count_once(self):
        (run,) = WandB().read(GOLDEN / "run-typed0001.wandb")
        same(run.series["loss"], range(11), [*LOSSES, -3.0])
        same(run.series["opt.lr"], range(14), [0.5] * 14)

    def test_a_file_of_several_blocks_is_read(self):
        path = GOLDEN / "run-long0001.wandb"
        (run,) = WandB().read(path)
        same(run.series["loss"], range(0, 1300, 10), [1 / (step + 1) for step in range(130)])
        assert run.remarks == ()

    @pytest.mark.parametrize("name", ["run-plain0001.wandb", "run-long0001.wandb"])
    @pytest.mark.parametrize("share", [*np.linspace(0, 0.999, 20).tolist(), 0.839, 0.84])
    def test_cut_off_anywhere_it_gives_what_was_before(self, tmp_path, name, share):
        octets = (GOLDEN / name).read_bytes()
        path = tmp_path / "cut.wandb"
        path.write_bytes(octets[: int(share * len(octets))])
        (whole_run,) = WandB().read(GOLDEN / name)
        try:
            (run,) = WandB().read(path)
        except LogError:
            assert share < 0.3
            return
        for tag, series in run.series.items():
            kept = len(series.steps)
            same(
                series,
                whole_run.series[tag].steps[:kept],
                whole_run.series[tag].values[:kept].tolist(),
            )

    def test_damage_is_remarked_and_the_rest_is_read(self, tmp_path):
        octets = bytearray((GOLDEN / "run-long0001.wandb").read_bytes())
        octets[20_000] ^= 1
        path = tmp_path / "damaged.wandb"
        path.write_bytes(octets)
        (run,) = WandB().read(path)
        assert len(run.series["loss"].steps) in (129, 130)
        assert "hold no record; skipped" in run.remarks[0]

    @pytest.mark.parametrize("seed", range(40))
    def test_random_damage_never_raises_anything_else(self, tmp_path, seed):
        rng = np.random.default_rng(seed)
        octets = np.frombuffer(PLAIN.read_bytes(), np.uint8).copy()
        octets[rng.integers(7, len(octets), 30)] = rng.integers(0, 256, 30)
        path = tmp_path / "damaged.wandb"
        path.write_bytes(octets.tobytes())
        (run,) = WandB().read(path)
        assert run.remarks


class TestOtherFiles:
    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b":W&",
            b":W&B",
            b":SWL\xd6\xe1\x02",
            b'{"step": 1}\n',
            b"step,loss\n1,2\n",
            bytes(64),
        ],
    )
    def test_they_are_not_recognized(self, head):
        assert not WandB().recognizes(Path("run-1.wandb"), head)

    def test_random_bytes_are_not_recognized(self):
        assert not WandB().recognizes(Path("run-1.wandb"), os.urandom(4096))

    def test_a_file_of_wandb_is_recognized_by_its_head_alone(self):
        assert WandB().recognizes(Path("anything"), PLAIN.read_bytes()[:64])


class TestRowsMadeByHand:
    def test_repeated_and_falling_steps_are_kept(self, tmp_path):
        steps = (3, 4, 4, 2, 2**40)
        run = read(tmp_path, *[row(item("loss", "0.5"), step=step) for step in steps])
        same(run.series["loss"], steps, [0.5] * 5)

    def test_the_step_may_be_an_item(self, tmp_path):
        run = read(tmp_path, row(item("loss", "1"), item("_step", "12")))
        assert points(run) == {"loss": [(12, 1.0)]}
        assert run.remarks == ()

    def test_rows_without_a_step_are_numbered_and_remarked(self, tmp_path):
        loss = item("loss", "1")
        run = read(tmp_path, row(loss), row(loss), row(loss, step=9), row(loss))
        assert points(run) == {"loss": [(0, 1.0), (1, 1.0), (9, 1.0), (10, 1.0)]}
        assert run.remarks == ("3 rows carry no step; each is numbered as the next",)

    def test_names_may_be_plain_keys_and_dicts_in_one_piece(self, tmp_path):
        folded = '{"lr": 0.5, "deep": {"er": NaN}, "note": "x", "on": true}'
        picture = '{"_type": "image-file", "width": 28}'
        made = row(item("opt", folded, key=1), item("p", picture, key=1), step=1)
        assert (
            repr(points(read(tmp_path, made)))
            == "{'opt.lr': [(1, 0.5)], 'opt.deep.er': [(1, nan)]}"
        )

    def test_values_in_the_typed_form_alone_are_read(self, tmp_path):
        name = text(2, "loss")
        typed = [double(6, -0.5), whole(5, 5), whole(5, 2**64 - 1), text(7, "word"), whole(4, 1)]
        records = [row(text(1, name + value), step=step) for step, value in enumerate(typed)]
        run = read(tmp_path, *records)
        assert points(run) == {"loss": [(0, -0.5), (1, -3.0), (2, -(2.0**63))]}
        assert len(run.remarks) == 1

    @pytest.mark.parametrize("size", [1, 126, 127, 128, 129, 130, 131, 300, 20_000])
    def test_a_value_may_have_any_length(self, tmp_path, size):
        made = row(item("loss", "1" + "." * (size > 1) + "0" * (size - 2)), step=1)
        assert points(read(tmp_path, made, made)) == {"loss": [(1, 1.0)] * 2}

    def test_a_tag_may_hold_the_bytes_that_announce_a_value(self, tmp_path):
        odd = "\N{LATIN CAPITAL LETTER A WITH GRAVE}\x82\x01\x031.0"
        made = row(item(odd, "2.5"), item("loss", "7"), step=1)
        assert points(read(tmp_path, made, made)) == {odd: [(1, 2.5)] * 2, "loss": [(1, 7.0)] * 2}

    def test_fields_that_are_unknown_or_in_another_order_do_no_harm(self, tmp_path):
        swapped = text(1, text(16, "2") + text(2, "loss"))
        longer = text(1, text(2, "loss") + text(16, "3") + text(99, "later"))
        plain = item("loss", "4")
        run = read(tmp_path, text(77, "x") + row(swapped, longer, plain, longer, swapped, step=1))
        assert points(run) == {"loss": [(1, 2.0), (1, 3.0), (1, 4.0), (1, 3.0), (1, 2.0)]}

    def test_a_record_that_is_no_message_is_remarked(self, tmp_path):
        run = read(tmp_path, row(item("loss", "1"), step=1), b"\x12\x7fx", row(b"\x0a\x02\x12\x09"))
        assert points(run) == {"loss": [(1, 1.0)]}
        assert run.remarks == ("2 records are no messages of W&B; skipped",)

    @pytest.mark.parametrize(
        "value",
        ["", "[1, 2]", '{"a": ', "{" + '"a":{' * 50_000, '{"a": 1' + "0" * 400 + "}", "\xff"],
    )
    def test_values_that_are_no_numbers_are_left_out(self, tmp_path, value):
        run = read(tmp_path, row(item("odd", value), item("loss", "1"), step=1))
        assert points(run) == {"loss": [(1, 1.0)]}

    def test_without_a_number_there_is_no_curve(self, tmp_path):
        with pytest.raises(LogError, match="1 rows of history and no number in them"):
            read(tmp_path, row(item("note", '"text"'), step=1))

    @pytest.mark.parametrize(
        ("records", "name"),
        [
            ([text(1, "ab12") + text(8, "demo")], "demo (ab12)"),
            ([text(1, "ab12")], "ab12"),
            ([text(1, "ab12") + text(8, "old"), text(1, "ab12") + text(8, "new")], "new (ab12)"),
            ([], "run-made"),
        ],
    )
    def test_the_last_name_counts_and_the_file_s_stands_in(self, tmp_path, records, name):
        introduced = [text(17, record) for record in records]
        assert read(tmp_path, *introduced, row(item("loss", "1"), step=1)).name == name

    def test_a_wild_varint_does_no_harm(self, tmp_path):
        made = text(2, text(1, text(2, "loss") + text(16, "1")) + text(2, b"\x08" + varint(-5)))
        assert points(read(tmp_path, made)) == {"loss": [(-5, 1.0)]}
