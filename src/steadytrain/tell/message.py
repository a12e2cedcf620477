"""A message: what one channel is told at one time, in plain words without any markup."""

import unicodedata
from dataclasses import dataclass

from steadytrain.tell.notes import Level
from steadytrain.tell.words import Lang, words


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What goes out.

    Attributes:
        id: the same when it is sent again, in no other message of this run and channel; `key` the
            same over all runs.
        run: the run's name; `link`: where the board shows it.
        threads: what it is about, one as a rule.
        number: 1 for the first message of a thread.
        notes: ids of the news in it.
        text: its news, a line each; `story`: of the whole thread so far, for a service that edits.
        reference: what the service called the thread's first message; "" for a first one.
        is_over: what it is about has ended; `is_recovered`: and ended well.
        is_again: it may have arrived before.
    """

    id: str
    run: str
    threads: tuple[str, ...]
    notes: tuple[str, ...]
    level: Level
    title: str
    text: str
    number: int = 1
    story: str = ""
    link: str = ""
    reference: str = ""
    key: str = ""
    is_over: bool = False
    is_recovered: bool = False
    is_again: bool = False
    lang: Lang = "en"

    @property
    def headline(self) -> str:
        """Level, run and title in one line."""
        level = words("recovered" if self.is_recovered else self.level, self.lang)
        return f"[{level}] {self.run}: {self.title}"

    @property
    def body(self) -> str:
        """The news, and the remark that they may have come before."""
        return self._with_remark(self.text)

    @property
    def whole(self) -> str:
        """The story, for a message that is edited."""
        return self._with_remark(self.story or self.text)

    def _with_remark(self, text: str) -> str:
        return f"{text}\n{words('again', self.lang)}" if self.is_again else text


@dataclass(frozen=True, slots=True)
class Arrived:
    """The service took it; `reference` to edit or answer it by."""

    reference: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """It did not arrive, and may later; not before `after_seconds`, if the service says so."""

    why: str
    after_seconds: float | None = None
    may_have_arrived: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """It will not arrive however often it is sent: somebody must change a setting."""

    why: str


Answer = Arrived | TryAgain | Refused


def clean(text: str) -> str:
    """Text of a journal made harmless: control characters and reversed text are made visible.

    >>> clean("a\\x1b[2J\\u202eb")
    'a<001B>[2J<202E>b'
    """
    return "".join(one if one == "\n" else _visible(one) for one in text)


def cut(text: str, most_bytes: int, more: str = "") -> str:
    """At most so many bytes of UTF-8, never within a character; `more` stands where it was cut.

    >>> cut("ab\\u4e2d\\u6587", 5), cut("abcdef", 5, "..")
    ('ab\\u4e2d', 'abc..')
    """
    raw = text.encode()
    if len(raw) <= most_bytes:
        return text
    tail = more.encode()
    kept = raw[: max(0, most_bytes - len(tail))].decode(errors="ignore")
    return cut(kept + more, most_bytes) if len(tail) > most_bytes else kept + more


def _visible(one: str) -> str:
    kind = unicodedata.category(one)
    # Cf holds the marks that turn the direction of text, and characters without a width.
    return f"<{ord(one):04X}>" if kind in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else one
