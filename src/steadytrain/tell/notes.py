"""What people are told: notes, and the threads that they belong to.

A note is one piece of news with an id that the journal alone decides, so that after a restart the
same news has the same id, and no channel hears it twice. A thread is what develops: an incident
from its opening to its end, a death and the restart after it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from steadytrain.events import Event
from steadytrain.news import Noted
from steadytrain.tell.words import Lang, words
from steadytrain.wording import sentence

Level = Literal["info", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("info", "warning", "critical")

Rule = Literal[
    "run", "incident", "trend", "process", "checkpoint", "silence", "judging", "advice", "test"
]
"""What asks for a message; the pause between messages is kept for each apart."""

MOST_LINES = 30
"""Of a thread's story. An incident that is treated five times has some twenty-five."""


def rank(level: Level) -> int:
    return LEVELS.index(level)


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """One piece of news.

    Attributes:
        at: when it happened, by the journal. [seconds since 1970]
        ends: the thread is over with it, for now.
    """

    id: str
    thread: str
    level: Level
    at: float
    text: str
    ends: bool = False


@dataclass(kw_only=True, slots=True)
class Thread:
    """What develops.

    Attributes:
        subject: a few words that name it in a title.
        level: the highest so far; `needs_person`: it waits for one.
        seen_by: who has acknowledged it.
        may_escalate: it is worth waking others for, as long as it is open and nobody has seen it.
    """

    id: str
    rule: Rule
    opened_at: float
    subject: str
    level: Level = "info"
    is_over: bool = False
    needs_person: bool = False
    may_escalate: bool = False
    seen_by: str = ""
    notes: list[Note] = field(default_factory=list)

    def add(self, note: Note) -> Note:
        self.notes.append(note)
        self.level = max(self.level, note.level, key=rank)
        self.is_over |= note.ends
        return note

    def see(self, who: str) -> None:
        """Somebody has acknowledged it."""
        self.seen_by = self.seen_by or who
        self.needs_person = False

    def story(self) -> list[str]:
        """Its notes as lines; the middle of a long one is left out."""
        lines = [note.text for note in self.notes]
        if len(lines) <= MOST_LINES:
            return lines
        half = MOST_LINES // 2
        return [*lines[:half], f"... ({len(lines) - 2 * half})", *lines[-half:]]


@dataclass(kw_only=True, slots=True)
class Threads:
    """All threads of a run by id, and how a note is added to one."""

    lang: Lang = "en"
    by_id: dict[str, Thread] = field(default_factory=dict)

    def get(self, name: str) -> Thread | None:
        return self.by_id.get(name)

    def begin(self, name: str, rule: Rule, at: float, subject: str) -> Thread:
        thread = Thread(id=name, rule=rule, opened_at=at, subject=subject)
        self.by_id[name] = thread
        return thread

    def open(self, *prefixes: str) -> list[Thread]:
        """Those that are not over and whose id begins so."""
        return [
            one for one in self.by_id.values() if one.id.startswith(prefixes) and not one.is_over
        ]

    def open_of(self, rule: Rule) -> list[Thread]:
        return [one for one in self.by_id.values() if one.rule == rule and not one.is_over]

    def once(
        self, name: str, rule: Rule, level: Level, at: float, text: str, subject: str = "", *,
        ends: bool = True, may_escalate: bool = False,
    ) -> list[Note]:  # fmt: skip
        """A thread with its first note, mostly the only one."""
        thread = self.begin(name, rule, at, subject or words("run", self.lang))
        thread.may_escalate = may_escalate
        return self.note(thread, f"{name}/told", level, at, text, ends=ends)

    def say(
        self, event: Event, item: Noted, thread: Thread | None, what: str, level: Level = "info", *,
        ends: bool = False,
    ) -> list[Note]:  # fmt: skip
        """The event's own sentence, in a thread; nothing if it is of no thread."""
        text = sentence(event, lang=self.lang)
        if thread is None or text is None:
            return []
        return self.note(thread, f"{thread.id}/{what}", level, item.at, text, ends=ends)

    def note(
        self, thread: Thread, name: str, level: Level, at: float, text: str, *, ends: bool = False
    ) -> list[Note]:
        note = Note(id=name, thread=thread.id, level=level, at=at, text=text, ends=ends)
        return [thread.add(note)]


def highest(notes: Iterable[Note]) -> Level:
    """The most urgent level among notes."""
    return max((note.level for note in notes), key=rank, default="info")
