"""The text that an examination kept, ready to be shown: the bad part marked, nothing hidden.

A browser gets pieces of text with a kind, never markup. Control and direction characters are
pieces of their own, spelled, so that no text can hide or turn what stands beside it.
"""

import json
from pathlib import Path
from typing import Any

from steadytrain.errors import JournalError
from steadytrain.phrases import phrase
from steadytrain.sayings import say
from steadytrain.text import lint

MOST_BYTES = 8 << 20
MOST_CHARACTERS = 4_000
"""Of one sequence; the file has all of it."""


def passages(home: Path, path: str, lang: str) -> list[dict[str, Any]]:
    """The sequences of an examination.

    Args:
        path: as the journal has it, below the home.

    Raises:
        JournalError: there is no such file, or it does not lie in the home.
    """
    file = inside(home, path)
    try:
        if file.stat().st_size > MOST_BYTES:
            raise JournalError(f"{path} has more than {MOST_BYTES} bytes; read it where it lies.")
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JournalError(f"{path} cannot be read: {error}. The journal names it.") from error
    return [_passage(one, lang) for one in found if isinstance(one, dict)]


def inside(home: Path, path: str) -> Path:
    """The file at a path below the home, links followed.

    Raises:
        JournalError: it leads out of the home.
    """
    root = Path(home).resolve()
    file = (root / path).resolve()
    if not file.is_relative_to(root):
        raise JournalError(f"{path} leads out of the run's folder, so it is not shown.")
    return file


def _passage(one: dict[str, Any], lang: str) -> dict[str, Any]:
    text = str(one.get("text", ""))
    shown = text[:MOST_CHARACTERS]
    domain = str(one.get("domain", ""))
    spans: tuple[tuple[int, int], ...] = ()
    if one.get("verdict") == "corrupt":
        spans = lint(text, domain=domain or None).offsets
    return {
        "draw": one.get("draw"),
        "step": one.get("step"),
        "domain": domain,
        "source": str(one.get("source", "")),
        "loss": _finite(one.get("loss")),
        "z": _finite(one.get("z")),
        "verdict": str(one.get("verdict", "")),
        "defect": phrase(str(one["defect"]), lang) if one.get("defect") else None,
        "evidence": say(str(one.get("evidence", "")), lang),
        "role": str(one.get("role", "")),
        "pieces": pieces(shown, spans),
        "more": max(0, len(text) - len(shown)),
    }


def pieces(text: str, spans: tuple[tuple[int, int], ...] = ()) -> list[list[str]]:
    """Text in pieces of one kind: "text", "bad", "mark" (a character that cannot be seen).

    >>> pieces("ab" + chr(0x202E) + "c", ((0, 1),))
    [['bad', 'a'], ['text', 'b'], ['mark', 'U+202E'], ['text', 'c']]
    """
    bad = bytearray(len(text))
    for first, end in spans:
        bad[max(0, first) : max(0, end)] = b"\1" * max(0, min(end, len(text)) - max(0, first))
    found: list[list[str]] = []
    at = 0
    while at < len(text):
        char = text[at]
        spelled = _spelled(char)
        if spelled is not None:
            end = at
            while end < len(text) and text[end] == char:
                end += 1
            times = end - at
            kind = "badmark" if bad[at] else "mark"
            if char == "\n" and times <= 3:
                found += [[kind, spelled], ["text", "\n"]] * times
            elif times > 3:
                found.append([kind, f"{spelled}\u00d7{times}"])
                if char == "\n":
                    found.append(["text", "\n"])
            else:
                found += [[kind, spelled]] * times
            at = end
            continue
        kind = "bad" if bad[at] else "text"
        if found and found[-1][0] == kind and found[-1][1] != "\n":
            found[-1][1] += char
        else:
            found.append([kind, char])
        at += 1
    return found


def _spelled(char: str) -> str | None:
    if char == "\n":
        return "\u23ce"
    if char == "\t":
        return "\u2192"
    if char == " " or (char.isprintable() and char != "\ufffd"):
        return None
    return f"U+{ord(char):04X}"


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value == value else None
