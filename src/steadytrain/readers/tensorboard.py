"""TensorBoard event files: the scalars of one process, as its summary writer appended them.

A file is a chain of records: uint64 size, masked CRC of the size, `size` bytes, masked CRC of them;
little-endian (TensorFlow, core/lib/io/record_writer.h). The bytes are a protobuf `Event`
(core/util/event.proto): 1 wall time (fixed64), 2 step (varint), 5 summary. A `Summary` repeats
values (core/framework/summary.proto): 1 tag, 2 simple_value (float32), 8 tensor, 9 metadata, whose
plugin says what a tensor is for. PyTorch, tensorboardX and TF1 write simple_value, TF2 tensors.

Traps: step 0 is not written at all (proto3); the plugin may stand only at a tag's first value, and
a tensor of one number may belong to another one; float32 comes back widened, not rounded.

Ten million records allow no Python loop per record, so nothing here walks the chain:
- a size has zero bytes above it, so the starts of runs of zeros, where the CRC fits, are the heads
  of records; each must begin where the one before it ends;
- records whose fixed bytes equal those of a record that was parsed field by field differ from it in
  wall time, step and value only, and these are cut out of all of them at once.
Whatever fits no such template is parsed field by field. Every CRC of a size is checked, and that of
the bytes for every record that holds a scalar or is small enough to have been one.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from steadytrain.errors import LogError
from steadytrain.readers.runs import LoggedRun, Series, series_of
from steadytrain.readers.tfevent import Event, GarbledError, Shape, Values, learn, parse_event
from steadytrain.readers.tfrecord import HEAD, SMALL, Chain, Ints, Words, gather, is_intact


@dataclass(frozen=True, slots=True)
class TensorBoard:
    """Event files ("events.out.tfevents..."), one run per folder, pieces in order of file name."""

    format: str = "TensorBoard"

    def recognizes(self, path: Path, head: bytes) -> bool:
        if len(head) < HEAD + 10 or not is_intact(head[:HEAD]):
            return False
        # Wall time and any next field, or the version alone; a TFRecord of examples has neither.
        return (head[12] == 0x09 and head[21] in b"\x10\x1a\x22\x2a\x32") or head[12] == 0x1A

    def read(self, path: Path) -> list[LoggedRun]:
        tally = _Tally()
        chain = Chain()
        try:
            with path.open("rb") as file:
                for base, raw, heads, sizes in chain.stretches(file):
                    tally.decode(base, raw, heads, sizes)
        except OSError as e:
            raise LogError(
                f"{path} cannot be read ({e.strerror}); its scalars are missing. "
                "Make it readable, or copy it to where it is."
            ) from e
        if not chain.num_records:
            raise LogError(
                f"{path} holds no whole TensorBoard record in {chain.end} bytes, so there is no "
                "scalar in it. Point to an events.out.tfevents file that was written to."
            )
        return [
            LoggedRun(
                name=str(path.parent),
                format=self.format,
                source=path,
                series=tally.series(),
                remarks=(*chain.remarks(), *tally.remarks()),
                order=path.name,
            )
        ]


@dataclass(slots=True)
class _Growing:
    """Points of one tag, in arrays that grow in place: joining pieces would need them twice."""

    length: int = 0
    steps: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    values: Values = field(default_factory=lambda: np.empty(0, np.float64))

    def extend(self, steps: Ints, values: Values) -> None:
        begin, self.length = self.length, self.length + len(steps)
        if self.length > len(self.steps):
            self._resize(self.length + self.length // 8)
        self.steps[begin : self.length] = steps
        self.values[begin : self.length] = values

    def series(self) -> Series:
        self._resize(self.length)
        return Series(steps=self.steps, values=self.values)

    def _resize(self, length: int) -> None:
        self.steps.resize(length, refcheck=False)  # nobody else holds them before `series`
        self.values.resize(length, refcheck=False)


@dataclass(slots=True)
class _Tally:
    """What was read so far.

    Attributes:
        shapes: size of a record -> layouts seen among records of that size.
        grown: tag -> its points in the pieces before.
        fresh, loose: the same for the present piece, with the place in the file, in any order.
        foreign: tags of tensors that another plugin owns.
        damaged: places of records that do not match their CRC or are no events.
    """

    shapes: dict[int, list[Shape]] = field(default_factory=lambda: defaultdict(list))
    grown: dict[str, _Growing] = field(default_factory=lambda: defaultdict(_Growing))
    fresh: dict[str, list[tuple[Ints, Series]]] = field(default_factory=lambda: defaultdict(list))
    loose: dict[str, list[tuple[int, int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    foreign: set[str] = field(default_factory=set)
    damaged: list[int] = field(default_factory=list)

    def decode(self, base: int, have: bytes, heads: Ints, sizes: Ints) -> None:
        """Take the scalars of these records of one piece of the file."""
        small = sizes <= SMALL
        for head, size in zip(heads[~small], sizes[~small], strict=True):
            begin = int(head) + HEAD
            self._parse(have[begin : begin + int(size) + 4], base + int(head))
        heads, sizes = heads[small], sizes[small]
        order = np.argsort(sizes.astype(np.uint16), kind="stable")  # 16 bits: a radix sort
        heads, sizes = heads[order], sizes[order]
        padded = have + bytes(8)  # a row is whole words, the last record of a piece may not be
        cuts = np.flatnonzero(np.diff(sizes)) + 1
        for group, its in zip(np.split(heads, cuts), np.split(sizes, cuts), strict=True):
            if len(group):
                self._decode_equal(base, padded, group, int(its[0]))
        self._settle()

    def _decode_equal(self, base: int, padded: bytes, heads: Ints, size: int) -> None:
        """Records of one size: by templates, and when these run out, a few by parsing, in turn."""
        words = -(-(size + 4) // 8)
        rows = gather(padded, heads + HEAD, 8 * words).view("<u8").reshape(len(heads), words)
        heads = heads + base
        shapes, batch, known = self.shapes[size], 1, 0
        while len(heads):
            if (templates := sum(len(shape.tags) for shape in shapes)) > known:
                known = templates
                for shape in shapes:
                    heads, rows = self._cut(shape, heads, rows)
            for head, row in zip(heads[:batch], rows[:batch], strict=True):
                event = self._parse(row.tobytes()[: size + 4], int(head))
                if event is not None and all(point.dtype for point in event.points):
                    learn(shapes, event, row, size)
            heads, rows, batch = heads[batch:], rows[batch:], 2 * batch

    def _cut(self, shape: Shape, heads: Ints, rows: Words) -> tuple[Ints, Words]:
        """Take the records that have this shape; give back the others."""
        ids = shape.match(rows)
        hit = ids >= 0
        left = (heads[:0], rows[:0])
        if not hit.all():
            left = (heads[~hit], rows[~hit])
            heads, rows, ids = heads[hit], rows[hit], ids[hit]
        octets = rows.view(np.uint8).reshape(len(rows), 8 * rows.shape[1])
        stored = np.ascontiguousarray(octets[:, shape.size : shape.size + 4]).view("<u4")[:, 0]
        intact = shape.crcs(octets, ids) == stored
        if not intact.all():
            self.damaged += heads[~intact].tolist()
            heads, octets, ids = heads[intact], octets[intact], ids[intact]
        steps = shape.steps(octets)
        order = np.argsort(ids.astype(np.int32), kind="stable") if len(shape.tags) > 1 else None
        bounds = np.cumsum(np.bincount(ids, minlength=len(shape.tags))).tolist()
        if order is not None:
            heads, steps = heads[order], steps[order]
        for spot, (offset, _) in enumerate(shape.spots):
            values = shape.values(octets, spot)
            values = values if order is None else values[order]
            for tags, begin, stop in zip(shape.tags, [0, *bounds], bounds, strict=False):
                if stop > begin:
                    part = Series(steps=steps[begin:stop], values=values[begin:stop])
                    self.fresh[tags[spot]].append((heads[begin:stop] + offset, part))
        return left

    def _parse(self, record: bytes, place: int) -> Event | None:
        """The event of a record (and the CRC behind it), counted; None when it is of no use."""
        octets = record[:-4]
        try:
            event = parse_event(octets)
        except GarbledError:
            self.damaged.append(place)
            return None
        matters = bool(event.points) or len(octets) <= SMALL
        if matters and not is_intact(record):
            self.damaged.append(place)
            return None
        if not event.points:
            return None
        for point in event.points:
            self.loose[point.tag].append((place + point.begin, event.step, point.value))
        self.foreign.update(event.foreign)
        return event

    def _settle(self) -> None:
        """Put the points of the present piece in the order of the file."""
        for tag, points in self.loose.items():
            points.sort()  # by place: they came by size
            places = np.array([place for place, _, _ in points], np.int64)
            self.fresh[tag].append((places, series_of([point[1:] for point in points])))
        for tag, parts in self.fresh.items():
            steps = np.concatenate([part.steps for _, part in parts])
            values = np.concatenate([part.values for _, part in parts])
            if len(parts) > 1:
                order = np.argsort(np.concatenate([places for places, _ in parts]))
                steps, values = steps[order], values[order]
            self.grown[tag].extend(steps, values)
        self.fresh.clear()
        self.loose.clear()

    def series(self) -> dict[str, Series]:
        return {tag: self.grown[tag].series() for tag in sorted(set(self.grown) - self.foreign)}

    def remarks(self) -> list[str]:
        if not self.damaged:
            return []
        return [
            f"{len(self.damaged)} records do not match their checksum or are no events, "
            f"the first at byte {min(self.damaged)}; left out"
        ]
