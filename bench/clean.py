"""Clean texts of this machine and of given files, none of which a profile has learned.

A half by name: "tune" is for looking at while a rule is written, "test" for the figures.
"""

import gettext
import json
import random
import sysconfig
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from profiles import is_held_out

PIECE = 4000
LEAST = 400
"""Characters of a piece."""

SHARE = Path("/usr/share")
HANDBOOK = Path(__file__).parents[1] / "src" / "steadytrain" / "lab" / "handbook"
PLACES: tuple[tuple[str, Path, tuple[str, ...]], ...] = (
    ("code", Path(sysconfig.get_paths()["stdlib"]), ("*.py",)),
    ("code", Path(sysconfig.get_paths()["purelib"]), ("*.py", "*.pyi", "*.h", "*.css")),
    ("code", Path("/usr/include"), ("*.h",)),
    ("code", Path("/usr/lib/node_modules"), ("*.js",)),
    ("code", SHARE, ("*.pm", "*.pl", "*.vim", "*.cmake", "*.sh", "*.el", "*.m4")),
    ("en", Path(sysconfig.get_paths()["purelib"]), ("METADATA",)),
    ("en", SHARE, ("*.rst", "*.md", "*.txt", "*.pod", "README*")),
    ("en", Path("/usr/lib/node_modules"), ("*.md",)),
)
"""Domain, folder, names. English of /usr/share is manuals, release notes and help files."""

ODD_FILES = (
    "*.min.js", "package-lock.json", "*.csv", "*.tsv", "*.json", "*.tex", "*.svg", "*.xml", "*.yaml",
    "*.toml", "*.conf", "*.map", "*.tcl", "*.awk", "*.c", "*.cpp", "*.f", "*.f90",
)  # fmt: skip

MOST_FILES = 1500
ODD_PLACES = (
    "awscli", "unicore", "encodings", "dist-info/licenses", "i18n", "cldr", "zoneinfo",
    "gnupg/help.", "CMakeLists.txt", "timezonesets", "errcodes.txt", "odemap", "CodeMap", ".cdx.",
    "sbom",
)  # fmt: skip
"""Paths with tables, programs or other languages where the name promises prose or a program."""


def texts(
    held_out: Sequence[Path], unseen: Sequence[Path], *, half: str, most: int
) -> dict[str, list[str]]:
    """Pieces of each domain; "other" is text in other languages, to be judged undeclared.

    Args:
        held_out: JSON Lines of which bench/profiles.py left every fifth source out.
        unseen: JSON Lines of which no source was learned.
    """
    found: dict[str, list[str]] = {"zh": [], "zh-hant": [], "en": [], "code": [], "other": []}
    for path in (*held_out, *unseen):
        for line in path.open(encoding="utf-8"):
            one = json.loads(line)
            if (path in unseen or is_held_out(one["source"])) and _is_of(one["source"], half):
                found.setdefault(one["domain"], []).append(one["text"][:PIECE])
    for path in sorted(HANDBOOK.glob("*.md")):
        found["zh"] += list(_pieces(path.read_text("utf-8")))
    chance = random.Random(0)
    for domain, folder, patterns in PLACES:
        for pattern in patterns:
            paths = sorted(path for path in folder.rglob(pattern) if path.is_file())
            for path in chance.sample(paths, min(MOST_FILES, len(paths))):
                if not _is_of(str(path), half) or any(odd in str(path) for odd in ODD_PLACES):
                    continue
                text = _read(path)
                if text is not None and len(text) >= LEAST:
                    first = chance.randrange(max(1, len(text) - PIECE))
                    found[domain].append(text[first : first + PIECE])
    found["other"] += list(_other_languages(half))
    return {name: chance.sample(some, min(most, len(some))) for name, some in found.items() if some}


def odd_files(most: int = 60) -> list[tuple[str, str]]:
    """Tables, records, pictures as text, squeezed programs: (ending, piece), to be judged as code."""
    chance, found = random.Random(1), []
    places = {folder for _, folder, _ in PLACES}
    for pattern in ODD_FILES:
        paths = sorted(
            {path for place in places for path in place.rglob(pattern) if path.is_file()}
        )
        for path in chance.sample(paths, min(most, len(paths))):
            text = _read(path)
            if text is not None and len(text) >= LEAST:
                first = chance.randrange(max(1, len(text) - PIECE))
                found.append((pattern, text[first : first + PIECE]))
    return found


def _is_of(name: str, half: str) -> bool:
    return ("tune", "test")[zlib.crc32(name.encode()) // 7 % 2] == half


def _pieces(text: str) -> Iterator[str]:
    for at in range(0, max(1, len(text) - LEAST), PIECE):
        yield text[at : at + PIECE]


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (UnicodeDecodeError, OSError):
        return None


def _other_languages(half: str) -> Iterator[str]:
    """Translations of programs' messages, and the editor's tutor, in about 80 languages."""
    for path in sorted(SHARE.glob("vim/*/tutor/*.utf-8")):
        text = _read(path)
        if text is not None and _is_of(str(path), half):
            yield from list(_pieces(text))[:2]
    for path in sorted(SHARE.glob("locale/*/LC_MESSAGES/*.mo")):
        if not _is_of(str(path), half) or path.stat().st_size < 4000:
            continue
        try:
            with path.open("rb") as file:
                catalog = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        except (OSError, UnicodeDecodeError, ValueError, IndexError):
            continue
        text = "\n".join(str(said) for key, said in catalog.items() if key).replace("\x04", " ")
        if len(text) >= LEAST:
            yield text[:PIECE]
