"""What a lint has found so far, and the report of it: by class, by source, with examples."""

import unicodedata

import msgspec

from steadytrain.corpora.documents import DocumentId, Trouble
from steadytrain.sayings import say
from steadytrain.widths import padded

EXAMPLES = 3
MOST_FILES = 10_000
"""Files with corrupt documents that are counted one by one; guess: nobody reads more."""

SHOWN_FILES = 20
EXCERPT = 80  # characters of a corrupt text, from where it shows


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on a document, as `lint --json` prints it. `offsets` count characters."""

    id: DocumentId
    source: str
    domain: str | None
    verdict: str
    kind: str | None = msgspec.field(name="class")
    confidence: float
    offsets: tuple[tuple[int, int], ...]
    evidence: str


class Example(msgspec.Struct, frozen=True):
    """A corrupt document to show."""

    source: str
    id: DocumentId
    evidence: str
    excerpt: str


class Tally(msgspec.Struct, kw_only=True):
    """Counts that merge in the order of the input, the same however it was divided.

    Only merging forgets clean files: a part does not know what the others found in its file.

    Attributes:
        characters: of all texts.
        lost: parts that could not be read.
        passed: files that are no text, by suffix; "empty" for those without a byte.
        classes: corrupt documents by class; examples: the first of each.
        files: [documents, corrupt ones] of the last file and of those before it that are not
            clean, the first MOST_FILES of them; files that are one document each count together,
            as their folder, whose name ends in "/".
    """

    documents: int = 0
    unusual: int = 0
    corrupt: int = 0
    characters: int = 0
    lost: int = 0
    remarks: int = 0
    passed: dict[str, int] = {}
    classes: dict[str, int] = {}
    examples: dict[str, list[Example]] = {}
    files: dict[str, list[int]] = {}

    def count(self, file: str, line: Line, *, characters: int, excerpt: str) -> None:
        seen = self.files.setdefault(file, [0, 0])
        seen[0] += 1
        self.documents += 1
        self.characters += characters
        self.unusual += line.verdict == "unusual"
        if line.verdict == "corrupt":
            kind = line.kind or "corrupt"
            self.corrupt += 1
            seen[1] += 1
            self.classes[kind] = self.classes.get(kind, 0) + 1
            shown = self.examples.setdefault(kind, [])
            if len(shown) < EXAMPLES:
                shown.append(Example(line.source, line.id, line.evidence, excerpt))

    def note(self, trouble: Trouble) -> None:
        if trouble.level == "passed":
            self.passed[trouble.why] = self.passed.get(trouble.why, 0) + 1
        elif trouble.level == "lost":
            self.lost += 1
        else:
            self.remarks += 1

    def merge(self, later: "Tally") -> None:
        """Add what was found behind this."""
        for name in ("documents", "unusual", "corrupt", "characters", "lost", "remarks"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        for mine, theirs in ((self.passed, later.passed), (self.classes, later.classes)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for kind, examples in later.examples.items():
            shown = self.examples.setdefault(kind, [])
            shown += examples[: EXAMPLES - len(shown)]
        for file, (documents, corrupt) in later.files.items():
            self._open(file)
            self.files[file][0] += documents
            self.files[file][1] += corrupt

    def report(self, lang: str = "en") -> str:
        """For people; no control character of a text reaches the terminal."""
        said: list[str] = []
        mark = "/" if lang == "zh" else "of"
        if self.classes:
            said.append(say("corrupt, by class", lang))
        for kind, count in sorted(self.classes.items(), key=lambda one: (-one[1], one[0])):
            name = padded(say(kind, lang), 14)
            said.append(f"  {name}{count:>10}  {_share(count, self.documents)}")
            for example in self.examples[kind]:
                own = "" if str(example.id) == example.source.rpartition(":")[2] else example.id
                why = visible(say(example.evidence, lang))
                named = f" ({own})" if own not in ("", None) else ""
                said.append(f"      {visible(example.source + named)}: {why}")
                said.append(f"          {visible(example.excerpt)}")
        worst = sorted(
            (-corrupt, file, documents) for file, (documents, corrupt) in self.files.items()
            if corrupt
        )  # fmt: skip
        if worst:
            said.append(say("corrupt, by source", lang))
        for corrupt, file, documents in worst[:SHOWN_FILES]:
            said.append(
                f"  {-corrupt:>8} {mark} {documents:>8}  {_share(-corrupt, documents)}  "
                f"{visible(file)}"
            )
        if len(worst) > SHOWN_FILES:
            said.append(say(f"  and in {len(worst) - SHOWN_FILES} more files", lang))
        if self.passed:
            listed = ", ".join(
                f"{suffix} {count}"
                for suffix, count in sorted(self.passed.items(), key=lambda one: (-one[1], one[0]))
            )
            said.append(say(f"passed by, empty or no text: {visible(listed)}", lang))
        if self.lost:
            said.append(say(f"not read: {self.lost} files or parts of files", lang))
        read = f"{self.documents} documents read, {self.corrupt} corrupt, {self.unusual} unusual"
        said.append(say(read, lang))
        return "\n".join(said)

    def _open(self, file: str) -> None:
        """Begin or go on with a file; the one before it is forgotten if it was clean."""
        if file in self.files:
            return
        last = next(reversed(self.files), "/")
        # A folder is never forgotten: more of it may come behind other files.
        if last[-1] != "/" and (not self.files[last][1] or len(self.files) > MOST_FILES):
            del self.files[last]
        self.files[file] = [0, 0]


def visible(text: str) -> str:
    """A text on one line, with control, format and right-to-left marks spelled out.

    >>> print(visible("a\\u202eb" + chr(10) + chr(27) + "[31m"))
    a\\u202eb\\n\\x1b[31m
    """
    return "".join(char if _is_shown(char) else _spelled(char) for char in text)


def _is_shown(char: str) -> bool:
    return " " <= char <= "~" or (
        unicodedata.category(char) not in ("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp")
        and unicodedata.bidirectional(char) not in ("R", "AL")
    )


def _spelled(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _share(count: int, whole: int) -> str:
    return f"{100 * count / max(whole, 1):6.2f} %"
