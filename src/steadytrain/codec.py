"""Events to JSON bytes and back.

One object a line, `kind` first. Floats are written by their shortest round-trip form; NaN and
infinity as `{"float": "nan"}`, since JSON has no word for them and a browser must never meet a bare
`NaN`.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from steadytrain.events import KINDS, Event

NONFINITE_MARK = b'{"float":'
"""Stands in a line that holds a NaN or an infinity."""

KIND_WITHIN = 120
"""A journal's line says its kind within so many bytes."""


def mark_of(kind: type[Event]) -> bytes:
    """What stands near the beginning of every line of this kind."""
    return b'"kind":"%b"' % kind.__name__.encode()


def is_of(line: bytes, mark: bytes) -> bool:
    """Whether a line of a journal is of the kind of this mark; nothing is decoded."""
    return line.find(mark, 0, KIND_WITHIN) > 0


class Codec:
    """Events to JSON bytes and back, non-finite floats included."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._union: Any = KINDS[0]
        for kind in KINDS[1:]:
            self._union = self._union | kind
        self._decoder = msgspec.json.Decoder(self._union)

    def encode(self, event: Event) -> bytes:
        """One JSON object, no newline."""
        line = self._encoder.encode(event)
        # msgspec writes NaN and infinity as null. Fields at None are left out, so a null is rare.
        if b"null" in line:
            plain = _spell_nonfinite(msgspec.to_builtins(event))
            line = json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()
        return line

    def decode(self, line: bytes) -> Event:
        """The event of a line; fields that this version does not know are ignored.

        Raises:
            msgspec.DecodeError: not JSON, or not an event of KINDS.
        """
        if NONFINITE_MARK in line:
            plain = json.loads(line, object_hook=read_nonfinite)
            event: Event = msgspec.convert(plain, self._union)
            return event
        decoded: Event = self._decoder.decode(line)
        return decoded

    def decode_all(self, lines: Sequence[bytes]) -> list[Event]:
        """`decode` of many lines, without a call of ours for each.

        Raises:
            msgspec.DecodeError: a line is not JSON, or not an event of KINDS.
        """
        if any(NONFINITE_MARK in line for line in lines):
            return [self.decode(line) for line in lines]
        return list(map(self._decoder.decode, lines))


def _spell_nonfinite(plain: Any) -> Any:
    if isinstance(plain, float) and not math.isfinite(plain):
        return {"float": repr(plain)}
    if isinstance(plain, dict):
        return {key: _spell_nonfinite(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_spell_nonfinite(value) for value in plain]
    return plain


def read_nonfinite(plain: dict[str, Any]) -> Any:
    """A hook of `json.loads`: a spelled NaN or infinity as the float that it is."""
    if plain.keys() == {"float"} and plain["float"] in ("nan", "inf", "-inf"):
        return float(plain["float"])
    return plain


_codec = Codec()
encode = _codec.encode
decode = _codec.decode
decode_all = _codec.decode_all
