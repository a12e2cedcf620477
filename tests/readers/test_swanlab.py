"""What a run logged with SwanLab is read from its own file, of 0.10 and of 0.7, or made by hand."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from steadytrain.errors import LogError
from steadytrain.readers.swanlab import SIGNATURE, SwanLab
from tests.readers.test_protobuf import double, log_of, text, whole

GOLDEN = Path(__file__).parents[1] / "golden" / "logs" / "swanlab"
NAMES = ["protobuf.swanlab", "json.swanlab"]
LOSSES = [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 5e-324, 7.0]


def scalar(key, value, step=0, *, extra=b""):
    number = text(5, double(1, value) if value else b"")
    return text(13, text(1, key) + (whole(2, step) if step else b"") + whole(3, 1) + extra + number)


def time(field):
    return text(field, whole(1, 1_700_000_000) + whole(2, 5_000))


def plain(key, value, step=0):
    """A record with everything in it that SwanLab writes."""
    return whole(1, 300) + time(2) + scalar(key, value, step, extra=time(4))


def read(tmp_path, records, version=2):
    path = tmp_path / "made.swanlab"
    path.write_bytes(log_of(SIGNATURE, version, records))
    (run,) = SwanLab().read(path)
    return run


def line(kind, **data):
    return json.dumps({"model_type": kind, "data": data}).encode() + b"\n"


def same(series, steps, values):
    assert series.steps.dtype == np.int64
    assert series.values.dtype == np.float64
    assert series.steps.tolist() == list(steps)
    # repr tells -0.0 from 0.0 and takes NaN for NaN.
    assert list(map(repr, series.values.tolist())) == list(map(repr, values))


class TestAFileOfSwanLab:
    @pytest.mark.parametrize(("name", "joint"), [*zip(NAMES, "/.", strict=True)])
    def test_every_scalar_is_read_as_it_was_logged(self, name, joint):
        (run,) = SwanLab().read(GOLDEN / name)
        same(run.series[f"opt{joint}lr"], range(10), [step / 1000 for step in range(10)])
        same(run.series[f"opt{joint}deep{joint}er"], range(10), map(float, range(10)))
        same(run.series["flag"], range(10), [1.0] * 10)
        same(run.series["val/loss"], [20, 15], [1.5, 1.25])
        same(run.series["far"], [200_000], [2.0])
        same(run.series["n" * 130], [200_001], [1.0])
        same(run.series["verlust \N{GREEK SMALL LETTER EPSILON}"], [200_001], [0.5])
        assert len(run.series) == 8

    def test_nan_and_both_infinities_are_values(self):
        (run,) = SwanLab().read(GOLDEN / "protobuf.swanlab")
        same(run.series["train/loss"], range(10), LOSSES)
        assert run.remarks == ()

    def test_version_1_has_lost_the_sign_of_an_infinity(self):
        (run,) = SwanLab().read(GOLDEN / "json.swanlab")
        same(run.series["train/loss"], range(10), [abs(x) if x == -math.inf else x for x in LOSSES])
        assert run.remarks == ("'INF' stands for both infinities; read as +inf, 2 times",)

    def test_the_machine_s_own_measurements_are_left_out(self):
        assert b"__swanlab__.cpu.pct" in (GOLDEN / "json.swanlab").read_bytes()
        (run,) = SwanLab().read(GOLDEN / "json.swanlab")
        assert not [tag for tag in run.series if tag.startswith("__")]

    def test_the_run_is_told_by_name_and_id(self):
        path = GOLDEN / "protobuf.swanlab"
        (run,) = SwanLab().read(path)
        assert (run.name, run.format, run.source) == ("demo (golden01)", "SwanLab", path)
        assert run.order[:3] == "001"
        (older,) = SwanLab().read(GOLDEN / "json.swanlab")
        assert older.name.startswith("demo (")
        assert older.order[:2] == "20"

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("share", np.linspace(0, 0.999, 20).tolist())
    def test_cut_off_anywhere_it_gives_what_was_before(self, tmp_path, name, share):
        octets = (GOLDEN / name).read_bytes()
        path = tmp_path / "cut.swanlab"
        path.write_bytes(octets[: int(share * len(octets))])
        (whole_run,) = SwanLab().read(GOLDEN / name)
        try:
            (run,) = SwanLab().read(path)
        except LogError:
            assert share < 0.1
            return
        for tag, series in run.series.items():
            kept = len(series.steps)
            same(
                series,
                whole_run.series[tag].steps[:kept],
                whole_run.series[tag].values[:kept].tolist(),
            )

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("seed", range(20))
    def test_random_damage_never_raises_anything_else(self, tmp_path, name, seed):
        rng = np.random.default_rng(seed)
        octets = np.frombuffer((GOLDEN / name).read_bytes(), np.uint8).copy()
        octets[rng.integers(400, len(octets), 8)] ^= 0x55
        path = tmp_path / "damaged.swanlab"
        path.write_bytes(octets.tobytes())
        (run,) = SwanLab().read(path)
        assert run.remarks


class TestOtherFiles:
    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b":SW",
            b":SWL",
            b":W&B\xe1\xbe\x00",
            b'{"step": 1}\n',
            b"step,loss\n1,2\n",
            bytes(64),
        ],
    )
    def test_they_are_not_recognized(self, head):
        assert not SwanLab().recognizes(Path("run-1.swanlab"), head)

    def test_random_bytes_are_not_recognized(self):
        assert not SwanLab().recognizes(Path("run-1.swanlab"), os.urandom(4096))

    @pytest.mark.parametrize("name", NAMES)
    def test_a_file_of_swanlab_is_recognized_by_its_head_alone(self, name):
        assert SwanLab().recognizes(Path("anything"), (GOLDEN / name).read_bytes()[:64])

    def test_a_version_to_come_is_refused_with_a_reason(self, tmp_path):
        with pytest.raises(LogError, match="version 3 .* only 1 and 2 can be read"):
            read(tmp_path, [plain("loss", 1.0)], version=3)


class TestRecordsMadeByHand:
    @pytest.mark.parametrize("made", [plain, scalar])
    def test_repeated_and_falling_steps_are_kept(self, tmp_path, made):
        steps = (3, 4, 4, 2, 0, 127, 128, 2**40, -5)
        run = read(tmp_path, [made("loss", step / 2, step) for step in steps])
        same(run.series["loss"], steps, [step / 2 for step in steps])

    @pytest.mark.parametrize("size", [1, 9, 10, 126, 127, 128, 200, 50_000])
    def test_a_tag_may_have_any_length(self, tmp_path, size):
        run = read(tmp_path, [plain("x" * size, 1.5, 7)])
        same(run.series["x" * size], [7], [1.5])

    def test_a_tag_may_hold_the_bytes_that_follow_a_tag(self, tmp_path):
        odd = "a\x10\x05\x18\x01\x22\x0b"
        run = read(tmp_path, [plain(odd, 1.5, 7), plain("loss\n", 1.0)])
        same(run.series[odd], [7], [1.5])
        same(run.series["loss\n"], [0], [1.0])

    def test_every_byte_may_stand_in_a_value(self, tmp_path):
        values = np.random.default_rng(0).integers(1, 2**63, 3000).view(np.float64).tolist()
        values += [10.0**power for power in range(-300, 300)]
        run = read(tmp_path, [plain("loss", value, step) for step, value in enumerate(values)])
        same(run.series["loss"], range(len(values)), values)

    def test_a_scalar_without_a_value_is_none(self, tmp_path):
        run = read(tmp_path, [plain("loss", 1.0), text(13, text(1, "loss")), text(13, b"")])
        same(run.series["loss"], [0], [1.0])

    def test_a_record_that_is_no_message_is_remarked(self, tmp_path):
        run = read(
            tmp_path, [b"\x6a\x7fx", plain("loss", 1.0), text(13, b"\x0a\x09"), text(10, b"\x0b")]
        )
        same(run.series["loss"], [0], [1.0])
        assert run.remarks == ("3 records are no messages of SwanLab; skipped",)

    @pytest.mark.parametrize(
        "odd",
        [
            b"",
            b"{",
            b"\xff",
            b"[1]",
            b'{"data": {}}',
            line("Scalar"),
            line("Scalar", key="loss", step=1, metric=None),
            line("Scalar", key="loss", step=None, metric={"data": 1}),
            line("Scalar", key="loss", step=2**70, metric={"data": 1}),
            line("Scalar", key="loss", step=1, metric={"data": "oops"}),
            line("Scalar", key="loss", step=1, metric={"data": [1]}),
            line("Scalar", key="loss", step=1, metric={"data": None}),
            line("Experiment", id=1),
            b'{"model_type":"Scalar","data":{"key":"\\ud800","step":1,"metric":{"data":1}}}',
        ],
    )
    def test_a_line_that_is_no_record_is_remarked(self, tmp_path, odd):
        good = line("Scalar", key="loss", step=3, metric={"data": 0.5})
        run = read(tmp_path, [odd, good], version=1)
        same(run.series["loss"], [3], [0.5])
        assert run.remarks == ("1 records are no messages of SwanLab; skipped",)

    def test_without_a_scalar_there_is_no_curve(self, tmp_path):
        with pytest.raises(LogError, match="no scalar but the machine's own"):
            read(tmp_path, [plain("__swanlab__.cpu.pct", 1.0)])
