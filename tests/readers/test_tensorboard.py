"""Event files of TensorBoard: every scalar exactly, whatever else or whatever damage is around it."""

import math
import random
import struct
from pathlib import Path

import numpy as np
import pytest

from steadytrain.errors import LogError
from steadytrain.readers import tfrecord
from steadytrain.readers.tensorboard import TensorBoard
from steadytrain.readers.tfevent import parse_event

GOLDEN = Path(__file__).parents[1] / "golden" / "logs" / "tensorboard"
NAME = "events.out.tfevents.1700000000.host.1.0"
TORCH = GOLDEN / "torch" / NAME
TABLE = [0] * 256
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = (_crc >> 1) ^ (0x82F63B78 * (_crc & 1))
    TABLE[_byte] = _crc


def _masked_crc(octets):
    crc = 0xFFFFFFFF
    for byte in octets:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _record(octets):
    size = struct.pack("<Q", len(octets))
    crcs = struct.pack("<I", _masked_crc(size)), struct.pack("<I", _masked_crc(octets))
    return size + crcs[0] + octets + crcs[1]


def _varint(number):
    number &= (1 << 64) - 1
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def _block(number, octets):
    return _varint(number << 3 | 2) + _varint(len(octets)) + octets


def _simple(tag, value):
    raw = value if isinstance(value, bytes) else struct.pack("<f", value)
    return _block(1, _block(1, tag.encode()) + b"\x15" + raw)


def _tensor(tag, dtype, listed, plugin=None):
    metadata = _block(9, _block(1, _block(1, plugin.encode()))) if plugin else b""
    return _block(
        1, _block(1, tag.encode()) + _block(8, b"\x08" + bytes([dtype]) + listed) + metadata
    )


def _event(step, *values, wall=1.7e9):
    began = (b"\x09" + struct.pack("<d", wall) if wall else b"") + (
        b"\x10" + _varint(step) if step else b""
    )
    return began + (_block(5, b"".join(values)) if values else b"")


VERSION = b"\x09" + bytes(8) + b"\x1a\x0dbrain.Event:2"


def _write(folder, *events, name=NAME):
    path = folder / name
    path.write_bytes(b"".join(_record(event) for event in (VERSION, *events)))
    return path


def _points(path):
    (run,) = TensorBoard().read(path)
    return {
        tag: list(zip(one.steps.tolist(), map(repr, one.values.tolist()), strict=True))
        for tag, one in run.series.items()
    }


def _remarks(path):
    return TensorBoard().read(path)[0].remarks


def _parsed_one_by_one(events):
    found = {}
    for event in map(parse_event, events):
        for point in event.points:
            found.setdefault(point.tag, []).append((event.step, repr(point.value)))
    return found


def _random_value(rng, tag):
    value = rng.choice([rng.gauss(2, 1), 0.0, -0.0, math.nan, math.inf, 1e-40])
    kind = rng.randrange(8)
    if kind < 4:
        return _simple(tag, value)
    if kind == 4:
        return _tensor(tag, 1, _block(5, struct.pack("<f", value)), rng.choice([None, "scalars"]))
    if kind == 5:
        return _tensor(tag, 2, _block(4, struct.pack("<d", value)))
    if kind == 6:
        return _tensor(tag, 9, _block(10, _varint(rng.randrange(-300, 300))))
    return _block(1, _block(1, tag.encode()) + _block(5, rng.randbytes(rng.randrange(400))))


def _random_events(seed):
    rng = random.Random(seed)
    tags = ["loss", "lr", "norm", "loss/web", "loss/zip", "perf/mfu", "a" * 300][
        : rng.randrange(1, 8)
    ]
    step = rng.choice([0, 120, 16380, 2**21 - 5, -3, 2**40])
    events = []
    for _ in range(200):
        step += rng.choice([0, 0, 1, 1, 1, 40])
        wall = rng.choice([1.7e9, 1.7e9, rng.random() * 2e9, 0.0])
        values = [_random_value(rng, rng.choice(tags)) for _ in range(rng.choice([1, 1, 1, 2, 5]))]
        events.append(_event(step, *values, wall=wall))
    return events


class TestGolden:
    STEPS = [0, 1, 2, 127, 128, 129, 16383, 16384, 3, 3, 2_097_152]

    def test_what_torch_wrote_is_read_exactly(self):
        losses = np.float32(
            [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 1e-40, 7.0, 0.25]
        )
        expected = {
            "double": [math.pi + i for i in range(11)],
            "new": [float(np.float32(0.1 * i)) for i in range(11)],
            "train/loss": losses.astype(float).tolist(),
            "train/norm": [step + 0.5 for step in self.STEPS],
        }
        assert _points(TORCH) == {
            tag: list(zip(self.STEPS, map(repr, values), strict=True))
            for tag, values in expected.items()
        }

    def test_tensors_of_one_number_are_read_and_those_of_other_plugins_are_not(self):
        expected = {
            "content": [0.5 * i for i in range(5)],
            "double": [-2.0, -1.0, 0.0, 1.0, 2.0],
            "int": [-2.0, -1.0, 0.0, 1.0, 2.0],
            "long": [-2.0, -1.0, 0.0, 1.0, 2.0],
            "loss": [float(np.float32(1 / (i + 1))) for i in range(5)],
            "plain": [0.0, 1.0, 2.0, 3.0, 4.0],
        }
        assert _points(GOLDEN / "v2" / NAME) == {
            tag: list(zip(range(5), map(repr, values), strict=True))
            for tag, values in expected.items()
        }

    def test_the_folder_names_the_run_and_the_file_orders_its_pieces(self):
        (run,) = TensorBoard().read(TORCH)
        assert (run.name, run.order, run.format) == (str(TORCH.parent), NAME, "TensorBoard")
        assert run.remarks == ()
        assert {one.steps.dtype.name for one in run.series.values()} == {"int64"}
        assert {one.values.dtype.name for one in run.series.values()} == {"float64"}


class TestTemplates:
    @pytest.mark.parametrize("seed", range(30))
    def test_read_together_and_parsed_one_by_one_are_equal(self, seed, tmp_path, monkeypatch):
        monkeypatch.setattr(tfrecord, "CHUNK", 40 + 997 * (seed % 5))
        events = _random_events(seed)
        path = _write(tmp_path, *events)
        assert _points(path) == dict(sorted(_parsed_one_by_one(events).items()))
        assert _remarks(path) == ()

    def test_a_thousand_tags_of_one_length_stay_apart(self, tmp_path):
        tags = [f"layer{i:04d}/norm" for i in range(1000)]
        events = [_event(s, _simple(t, i)) for s in (1, 2, 200) for i, t in enumerate(tags)]
        expected = {t: [(s, repr(float(i))) for s in (1, 2, 200)] for i, t in enumerate(tags)}
        assert _points(_write(tmp_path, *events)) == expected

    @pytest.mark.parametrize("step", [0, 127, 128, 2**31, 2**63 - 1, -1, -(2**63)])
    def test_a_step_may_have_any_length(self, step, tmp_path):
        path = _write(tmp_path, *[_event(step, _simple("loss", i)) for i in range(3)])
        assert _points(path) == {"loss": [(step, "0.0"), (step, "1.0"), (step, "2.0")]}

    def test_a_signalling_nan_is_a_nan(self, tmp_path):
        events = [_event(i, _simple("loss", b"\x00\x00\xa0\x7f")) for i in range(4)]
        assert _points(_write(tmp_path, *events)) == {"loss": [(i, "nan") for i in range(4)]}

    def test_a_tag_with_a_foreign_plugin_is_left_out_also_where_the_plugin_is_not_named(
        self, tmp_path
    ):
        number = _block(5, struct.pack("<f", 1.0))
        events = [
            _event(i, _tensor("knob", 1, number, "knobs" if i == 2 else None)) for i in range(5)
        ]
        assert _points(_write(tmp_path, *events, _event(1, _simple("loss", 1.0)))).keys() == {
            "loss"
        }

    def test_a_tensor_that_repeats_one_number_is_no_scalar(self, tmp_path):
        shape = _block(2, _block(2, b"\x08\x03"))
        event = _event(1, _tensor("v", 1, shape + _block(5, struct.pack("<f", 1.0))))
        assert _points(_write(tmp_path, event)) == {}

    def test_a_record_larger_than_a_piece_is_passed_over(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tfrecord, "CHUNK", 64)
        image = _event(1, _block(1, _block(1, b"image") + _block(4, bytes(70_000))))
        path = _write(
            tmp_path, _event(1, _simple("loss", 1.0)), image, _event(2, _simple("loss", 2.0))
        )
        assert _points(path) == {"loss": [(1, "1.0"), (2, "2.0")]}

    def test_a_record_inside_a_record_is_no_record(self, tmp_path):
        inner = _record(_event(7, _simple("loss", 7.0)))
        text = _event(1, _block(1, _block(1, b"text") + _block(4, inner)))
        assert _points(_write(tmp_path, text, _event(2, _simple("loss", 2.0)), text)) == {
            "loss": [(2, "2.0")]
        }


class TestDamage:
    EVENTS = [_event(i, _simple("loss", i), _simple("lr", i)) for i in range(1, 40)]

    @pytest.mark.parametrize("share", range(0, 100, 5))
    @pytest.mark.parametrize("source", [TORCH, GOLDEN / "v2" / NAME], ids=["torch", "v2"])
    def test_a_file_cut_off_anywhere_gives_a_prefix(self, source, share, tmp_path):
        octets = source.read_bytes()
        path = tmp_path / NAME
        path.write_bytes(octets[: len(octets) * share // 100 + share % 7])
        whole = _points(source)
        if path.stat().st_size < 40:
            with pytest.raises(LogError, match="no whole TensorBoard record"):
                TensorBoard().read(path)
            return
        assert all(found == whole[tag][: len(found)] for tag, found in _points(path).items())

    def test_a_cut_off_record_is_said(self, tmp_path):
        path = _write(tmp_path, *self.EVENTS)
        size = len(path.read_bytes())
        path.write_bytes(path.read_bytes()[:-3])
        begin = size - len(_record(self.EVENTS[-1]))
        assert _remarks(path) == (f"the file ends inside the record that begins at byte {begin}",)
        assert len(_points(path)["loss"]) == 38

    @pytest.mark.parametrize("chunk", [500, 1 << 20])
    def test_a_flipped_bit_costs_no_more_than_its_record(self, chunk, tmp_path, monkeypatch):
        monkeypatch.setattr(tfrecord, "CHUNK", chunk)
        path = _write(tmp_path, *self.EVENTS)
        octets, whole = path.read_bytes(), _points(path)["loss"]
        begin = len(_record(VERSION)) + 10 * len(_record(self.EVENTS[0]))
        for i in range(len(_record(self.EVENTS[0]))):
            path.write_bytes(
                octets[: begin + i] + bytes([octets[begin + i] ^ 4]) + octets[begin + i + 1 :]
            )
            assert _points(path) == {"loss": whole[:10] + whole[11:], "lr": whole[:10] + whole[11:]}
            assert f"byte {begin}" in _remarks(path)[0].replace("bytes", "byte")

    @pytest.mark.parametrize("chunk", [500, 1 << 20])
    def test_reading_goes_on_behind_bytes_that_are_missing(self, chunk, tmp_path, monkeypatch):
        monkeypatch.setattr(tfrecord, "CHUNK", chunk)
        path = _write(tmp_path, *self.EVENTS)
        octets, whole = path.read_bytes(), _points(path)["loss"]
        size, first = len(_record(self.EVENTS[0])), len(_record(VERSION))
        for missing in range(1, 2 * size, 7):  # not a whole record: nothing would tell of it
            begin = first + 10 * size + 5
            path.write_bytes(octets[:begin] + octets[begin + missing :])
            found = _points(path)["loss"]
            assert found[:10] == whole[:10]
            assert found[10:] == whole[len(whole) - len(found) + 10 :]
            assert len(found) >= 36
            assert f"bytes {first + 10 * size} to" in _remarks(path)[0]

    def test_zeros_behind_the_end_are_said(self, tmp_path):
        path = _write(tmp_path, *self.EVENTS)
        size = len(path.read_bytes())
        path.write_bytes(path.read_bytes() + bytes(1000))
        assert len(_points(path)["loss"]) == 39
        assert _remarks(path) == (f"bytes {size} to {size + 999} hold no record; skipped",)

    @pytest.mark.parametrize("seed", range(40))
    def test_random_damage_raises_nothing_else_and_invents_nothing(self, seed, tmp_path):
        rng = random.Random(seed)
        path = _write(tmp_path, *_random_events(seed))
        whole, octets = _points(path), bytearray(path.read_bytes())
        for _ in range(rng.randrange(1, 30)):
            octets[rng.randrange(60, len(octets))] = rng.randrange(256)
        path.write_bytes(octets)
        found = _points(path)
        assert all(set(points) <= set(whole[tag]) for tag, points in found.items())

    def test_a_record_that_is_no_event_is_said(self, tmp_path):
        path = _write(tmp_path, self.EVENTS[0], b"\xff" * 30, b"\x2a\x7f", self.EVENTS[1])
        assert len(_points(path)["loss"]) == 2
        assert _remarks(path)[0].startswith(
            "2 records do not match their checksum or are no events"
        )

    def test_a_file_without_a_record_is_an_error_that_says_what_to_do(self, tmp_path):
        path = tmp_path / NAME
        for octets in (b"", b"plain text\n" * 50, random.Random(0).randbytes(5000), bytes(5000)):
            path.write_bytes(octets)
            with pytest.raises(LogError, match=r"no whole TensorBoard record .* Point to"):
                TensorBoard().read(path)

    def test_a_missing_file_is_an_error_of_ours(self, tmp_path):
        with pytest.raises(LogError, match="cannot be read"):
            TensorBoard().read(tmp_path / "nothing")


class TestRecognizes:
    @pytest.mark.parametrize("source", [TORCH, GOLDEN / "v2" / NAME], ids=["torch", "v2"])
    def test_real_files_are_recognized_by_what_is_in_them(self, source):
        assert TensorBoard().recognizes(Path("any.name"), source.read_bytes()[:65536])

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b"\x18",
            b"plain text\n" * 10,
            b"epoch,loss,step\n0,2.5,1\n",
            b'{"log_history": []}' + bytes(20),
            b"SQLite format 3\x00" + bytes(100),
            b":W&B\xe1\xbe\x00" + bytes(100),
            b"PAR1" + bytes(100),
            bytes(1000),
            random.Random(1).randbytes(1000),
            _record(b"\x0a\x20" + bytes(32)),
        ],
    )
    def test_foreign_files_are_not(self, head):
        assert not TensorBoard().recognizes(Path(NAME), head)

    def test_no_head_of_a_real_file_is_too_short_to_ask(self):
        octets = TORCH.read_bytes()
        assert [TensorBoard().recognizes(TORCH, octets[:i]) for i in (0, 11, 21)] == [False] * 3
