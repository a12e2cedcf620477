"""Events of TensorBoard: one parsed field by field, and many that are like it cut out at once.

The layout is told in `tensorboard.py`. Records whose fixed bytes equal those of a record that was
parsed differ from it in wall time, step and value only.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from steadytrain.readers.tfrecord import Crcs, Ints, Octets, Words, crc_tables, mask_crcs, remainder

Values = NDArray[np.float64]
Found = tuple[float, int, str]  # value, where it begins, dtype

_SHAPES = 64  # layouts told apart for one size; later ones are parsed field by field


class GarbledError(ValueError):
    """These bytes are no protobuf message."""


@dataclass(frozen=True, slots=True)
class Point:
    """One scalar of an event; `dtype` is "" where its bytes have no fixed width."""

    tag: str
    value: float
    begin: int
    dtype: str


@dataclass(slots=True)
class Event:
    """What is wanted of an event; `wall` and `span` are where its wall time and its step lie."""

    step: int = 0
    wall: int | None = None
    span: tuple[int, int] | None = None
    points: list[Point] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def parse_event(octets: bytes) -> Event:
    """One event, field by field.

    Raises:
        GarbledError: it is no event.
    """
    event = Event()
    for key, begin, stop in _fields(octets, 0, len(octets)):
        if key == 0x09:
            event.wall = begin
        elif key == 0x10:
            event.step, event.span = _signed(octets, begin, stop), (begin, stop)
        elif key == 0x2A:
            for inner, first, end in _fields(octets, begin, stop):
                if inner == 0x0A:
                    _add_value(event, octets, first, end)
    return event


def _add_value(event: Event, octets: bytes, begin: int, stop: int) -> None:
    tag, foreign, of_tensor = "", False, False
    found: Found | None = None
    for key, first, end in _fields(octets, begin, stop):
        if key == 0x0A:
            tag = octets[first:end].decode("utf-8", "replace")
        elif key == 0x15:
            found, of_tensor = (_number(octets, first, "<f4"), first, "<f4"), False
        elif key == 0x42:
            found, of_tensor = _one_number(octets, first, end), True
        elif key == 0x4A:
            foreign = _is_foreign(octets, first, end)
    if found is not None:
        event.points.append(Point(tag, *found))
        if foreign and of_tensor:
            event.foreign.append(tag)


def _is_foreign(octets: bytes, begin: int, stop: int) -> bool:
    """Whether metadata names a plugin other than that of scalars, and no class or another."""
    plugin, is_scalar = b"scalars", False
    for key, first, end in _fields(octets, begin, stop):
        if key == 0x0A:
            for inner, a, b in _fields(octets, first, end):
                plugin = octets[a:b] if inner == 0x0A else plugin
        elif key == 0x20:
            is_scalar = octets[first:end] == b"\x01"
    return plugin != b"scalars" and not is_scalar


# dtype of a TensorProto (core/framework/types.proto) -> its bytes in tensor_content, and the number
# of the field that holds it otherwise (core/framework/tensor.proto).
_TENSORS = {1: ("<f4", 5), 2: ("<f8", 6), 3: ("<i4", 7), 9: ("<i8", 10)}


def _one_number(octets: bytes, begin: int, stop: int) -> Found | None:
    """Value, place and dtype of a tensor of one number; None for any other tensor."""
    kind, found = 0, None
    fields = list(_fields(octets, begin, stop))
    for key, first, end in fields:
        if key == 0x08:
            kind = _varint(octets, first, end)[0]
        elif key == 0x12 and not _is_one(octets, first, end):
            return None
    dtype, number = _TENSORS.get(kind, ("", 0))
    for key, first, end in fields:
        if dtype and key >> 3 in (4, number) and end > first:
            if (dtype[1] == "f" or key == 0x22) and end - first == int(dtype[2]):
                found = (_number(octets, first, dtype), first, dtype)
            elif dtype[1] == "i" and key != 0x22 and _varint(octets, first, end)[1] == end:
                found = (float(_signed(octets, first, end)), first, "")
    return found


def _is_one(octets: bytes, begin: int, stop: int) -> bool:
    """Whether every dimension of a TensorShapeProto is 1."""
    return all(
        inner == 0x08 and octets[a:b] == b"\x01"
        for key, first, end in _fields(octets, begin, stop)
        if key == 0x12
        for inner, a, b in _fields(octets, first, end)
        if inner != 0x12  # the name of the dimension
    )


def _number(octets: bytes, begin: int, dtype: str) -> float:
    return float(np.frombuffer(octets, dtype, 1, begin)[0])


def _signed(octets: bytes, begin: int, stop: int) -> int:
    value = _varint(octets, begin, stop)[0]
    return value - (1 << 64) if value >> 63 else value


def _fields(octets: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Key (number * 8 + wire type) of each field, where its content begins and ends."""
    while at < stop:
        key, begin = _varint(octets, at, stop)
        wire = key & 7
        if wire == 0:
            at = _varint(octets, begin, stop)[1]
        elif wire == 1:
            at = begin + 8
        elif wire == 5:
            at = begin + 4
        elif wire == 2:
            length, begin = _varint(octets, begin, stop)
            at = begin + length
        else:
            raise GarbledError
        if at > stop or key < 8:
            raise GarbledError
        yield key, begin, at


def _varint(octets: bytes, at: int, stop: int) -> tuple[int, int]:
    """The number that begins here, and where it ends."""
    value = shift = 0
    while at < stop and shift < 70:
        byte = octets[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise GarbledError


@dataclass(slots=True, eq=False)
class Shape:
    """Records that differ in wall time, step, values, and the letters of their tags.

    Attributes:
        spots: offset and dtype of each value.
        varying: columns of the bytes that belong to no template.
        mask: 1 where a bit is the template's: of a step only the bits that tell its length.
        known: fixed bytes of a template -> its number.
        tags: the tags of each template.
        sums: what the fixed bytes of each template add to the CRC.
    """

    size: int
    span: tuple[int, int] | None
    spots: tuple[tuple[int, str], ...]
    varying: list[int]
    mask: Words
    known: dict[bytes, int] = field(default_factory=dict)
    tags: list[tuple[str, ...]] = field(default_factory=list)
    sums: list[int] = field(default_factory=list)
    sorted_keys: Words = field(default_factory=lambda: np.empty(0, np.uint64))
    order: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    fixed: Words = field(default_factory=lambda: np.empty((0, 0), np.uint64))

    @classmethod
    def of(cls, event: Event, size: int) -> "Shape":
        spots = tuple((point.begin, point.dtype) for point in event.points)
        varying = [] if event.wall is None else list(range(event.wall, event.wall + 8))
        varying += range(*event.span) if event.span else ()
        for begin, dtype in spots:
            varying += range(begin, begin + int(dtype[2]))
        mask = np.zeros(-(-(size + 4) // 8) * 8, np.uint8)
        mask[:size] = 0xFF
        mask[varying] = 0
        mask[slice(*event.span) if event.span else slice(0)] = 0x80
        return cls(size, event.span, spots, varying, mask.view("<u8"))

    def add(self, row: Words, tags: tuple[str, ...]) -> None:
        fixed = row & self.mask
        if fixed.tobytes() in self.known:
            return
        self.known[fixed.tobytes()] = len(self.tags)
        self.tags.append(tags)
        octets = fixed.view(np.uint8)[: self.size].copy()
        octets[self.varying] = 0
        self.sums.append(remainder(octets))

    def match(self, rows: Words) -> Ints:
        """The template of each row, -1 where there is none."""
        if len(self.fixed) < len(self.tags):
            self.fixed = np.frombuffer(b"".join(self.known), "<u8").reshape(len(self.known), -1)
            keys = _digest(self.fixed, self.mask)
            self.order = np.argsort(keys)
            self.sorted_keys = keys[self.order]
        if len(self.tags) == 1:
            ids = np.zeros(len(rows), np.int64)
        else:
            near = np.searchsorted(self.sorted_keys, _digest(rows, self.mask))
            ids = self.order[np.minimum(near, len(self.order) - 1)]
        same = np.ones(len(rows), bool)
        for i, mask in enumerate(self.mask):
            same &= (rows[:, i] & mask) == self.fixed[:, i][ids]
        ids[~same] = -1
        return ids

    def crcs(self, octets: Octets, ids: Ints) -> Crcs:
        """Masked CRC of each record, of which the fixed bytes are known to be its template's."""
        crcs = np.array(self.sums, np.uint32)[ids]
        tables = crc_tables()
        for column in self.varying:
            crcs ^= tables[self.size - 1 - column].take(octets[:, column])
        return mask_crcs(~crcs)

    def steps(self, octets: Octets) -> Ints:
        steps = np.zeros(len(octets), np.uint64)
        for i, column in enumerate(range(*self.span or (0, 0))):
            steps |= (octets[:, column].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(7 * i)
        return steps.view(np.int64)

    def values(self, octets: Octets, spot: int) -> Values:
        begin, dtype = self.spots[spot]
        numbers = np.ascontiguousarray(octets[:, begin : begin + int(dtype[2])]).view(dtype)
        with np.errstate(invalid="ignore"):  # a signalling NaN warns when it is widened
            return numbers[:, 0].astype(np.float64)


def _digest(rows: Words, mask: Words) -> Words:
    """A number for the fixed bytes of each row; equal rows have equal numbers."""
    sums = np.zeros(len(rows), np.uint64)
    for i, bits in enumerate(mask):
        sums = (sums ^ (rows[:, i] & bits)) * np.uint64(0x9E37_79B9_7F4A_7C15)  # golden ratio
        sums ^= sums >> np.uint64(29)
    return sums


def learn(shapes: list[Shape], event: Event, row: Words, size: int) -> None:
    """Make a template of an event that was parsed."""
    new = Shape.of(event, size)
    like = [s for s in shapes if (s.spots, s.varying, s.span) == (new.spots, new.varying, new.span)]
    if not like and len(shapes) < _SHAPES:
        shapes.append(new)
        like = [new]
    for shape in like:
        shape.add(row, tuple(point.tag for point in event.points))
