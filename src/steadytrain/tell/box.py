"""What waits for one channel, and when it may go: grouping, pauses, quiet hours, tries.

Pure but for the time that it is given. Notes of a thread that come together are one message; a
message that was begun stays as it is until it arrived or was given up, and nothing overtakes it. A
dead channel cannot fill the memory: beyond a number of notes only what is critical is kept.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from steadytrain.events import AlertSent
from steadytrain.tell.message import Answer, Arrived, Message, Refused, clean, cut
from steadytrain.tell.notes import Level, Note, Thread, highest, rank
from steadytrain.tell.quiet import QuietHours
from steadytrain.tell.words import Lang, aside, words

MOST_THREADS = 64
"""Of one message; what waits beyond that is counted, and the journal has it."""

MOST_WAITING = 2_000
"""Notes of one channel: some hundred incidents. Source: guess."""

MOST_TEXT = 15_000
"""Bytes of a message's words, before a channel cuts it to its own limit. Feishu takes 20 KB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manners:
    """How a channel wants to be told.

    Attributes:
        level: of the notes that begin a thread there; what follows in it comes too.
        gather: news of a thread that come within this are one message; `gather_critical`. [s]
        follow: between two messages of one thread, but for its end and what is critical. [s]
        cooldown: between two that begin a thread of the same rule; those that come meanwhile are
            one message then. Not for what is critical. [s]
        spacing: between any two messages: a service's own limit. [s]
        most_tries, most_seconds: then a message is given up.
        first_pause, longest_pause: between tries, doubled each time. [s]

    Source: spacing of DingTalk's and WeCom's robots is 3 s (20 a minute); the others: guess.
    """

    level: Level = "info"
    gather: float = 20.0
    gather_critical: float = 3.0
    follow: float = 60.0
    cooldown: float = 300.0
    spacing: float = 1.0
    quiet: QuietHours | None = None
    most_tries: int = 20
    most_seconds: float = 4 * 3600.0
    first_pause: float = 2.0
    longest_pause: float = 900.0


@dataclass(kw_only=True, slots=True)
class _Waiting:
    """Notes of one thread that a channel has not been told."""

    thread: Thread
    notes: list[Note] = field(default_factory=list)
    since: float = 0.0


@dataclass(kw_only=True, slots=True)
class Effort:
    """The message that is under way."""

    message: Message
    rule: str
    began: float
    tries: int = 0
    next_at: float = 0.0


@dataclass(kw_only=True)
class Box:
    """The outbox of one channel."""

    channel: str
    run: str
    manners: Manners = field(default_factory=Manners)
    lang: Lang = "en"
    link: str = ""
    salt: str = ""
    since: float = 0.0
    hurries: bool = False
    effort: Effort | None = None
    lost: list[str] = field(default_factory=list)
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _heard: set[str] = field(default_factory=set)
    _given_up: set[str] = field(default_factory=set)
    _told: dict[str, int] = field(default_factory=dict)
    _references: dict[str, str] = field(default_factory=dict)
    _told_at: dict[str, float] = field(default_factory=dict)
    _began_at: dict[str, float] = field(default_factory=dict)
    _last_at: float = 0.0
    _number: int = 0

    @property
    def is_empty(self) -> bool:
        return self.effort is None and not self._waiting

    def put(self, note: Note, thread: Thread, now: float) -> None:
        """A note that may concern this channel."""
        if note.id in self._heard:
            return
        is_known = thread.id in self._told or thread.id in self._waiting
        if not is_known and rank(note.level) < rank(self.manners.level):
            return
        is_full = sum(len(one.notes) for one in self._waiting.values()) >= MOST_WAITING
        if is_full and note.level != "critical":
            self._heard.add(note.id)
            self.lost.append(note.text)
            return
        waiting = self._waiting.setdefault(thread.id, _Waiting(thread=thread))
        if not waiting.notes:
            waiting.since = min(now, note.at) if note.at > self.since else now
        if not is_known:
            # What was too mild to begin with is what happened before.
            waiting.notes += [one for one in thread.notes if one.id not in self._heard]
        if note not in waiting.notes:
            waiting.notes.append(note)

    def forget_old(self) -> None:
        """Pass over what had ended before the channel was first told of the run."""
        for name, waiting in list(self._waiting.items()):
            is_old = max(note.at for note in waiting.notes) < self.since
            if is_old and waiting.thread.is_over and name not in self._told:
                del self._waiting[name]

    def restore(self, sent: AlertSent, at: float) -> None:
        """A line of the ledger, oldest first."""
        match sent.state:
            case "begun":
                self.since = at
            case "sending":
                self._number = max(self._number, int(sent.id or 0))
                self.effort = Effort(message=self._from_ledger(sent), rule="", began=at)
            case "sent":
                self._settle(sent.threads, sent.notes, sent.reference, "", at)
                self.effort = None
            case "given up":
                self._given_up.update(sent.notes)
                self.lost.append(sent.title)
                self.effort = None

    def settle_given_up(self, threads: Iterable[Thread]) -> None:
        """After a restart: what was given up goes out again where it is not over."""
        open_ones = tuple(f"{one.id}/" for one in threads if not one.is_over)
        self._heard.update(one for one in self._given_up if not one.startswith(open_ones))
        self._given_up.clear()

    def resume(self, now: float, story_of: Callable[[str], Thread | None]) -> None:
        """Begin after `restore`: what was under way has its whole budget again."""
        if self.effort is None:
            return
        message = self.effort.message
        thread = story_of(message.threads[0]) if len(message.threads) == 1 else None
        story = _shown(thread.story()) if thread is not None else ""
        self.effort = Effort(message=replace(message, story=story), rule="", began=now)

    def due(self, now: float) -> Message | None:
        """The message to send now. Ask again when it was answered."""
        if self.effort is None:
            self.effort = self._begin(now)
        effort = self.effort
        return effort.message if effort is not None and now >= effort.next_at else None

    def answered(self, answer: Answer, now: float) -> AlertSent | None:
        """What to write down of an answer; None: it is tried again."""
        effort = self.effort
        assert effort is not None
        message = effort.message
        effort.tries += 1
        self._last_at = now
        about = {
            "channel": self.channel, "id": message.id, "threads": message.threads,
            "notes": message.notes, "level": message.level, "tries": effort.tries,
        }  # fmt: skip
        if isinstance(answer, Arrived):
            self._settle(message.threads, message.notes, answer.reference, effort.rule, now)
            self.effort = None
            self.lost.clear()
            return AlertSent(state="sent", reference=answer.reference, **about)  # type: ignore[arg-type]
        spent = now - effort.began >= self.manners.most_seconds
        if isinstance(answer, Refused) or spent or effort.tries >= self.manners.most_tries:
            self._heard.update(message.notes)
            self.lost.append(message.title)
            self.effort = None
            return AlertSent(state="given up", title=message.title, why=answer.why, **about)  # type: ignore[arg-type]
        if answer.may_have_arrived:
            effort.message = replace(message, is_again=True)
        pause = self.manners.first_pause * 2 ** (effort.tries - 1)
        pause = min(pause, self.manners.longest_pause)
        effort.next_at = now + max(pause, answer.after_seconds or 0.0)
        return None

    @property
    def is_first_try(self) -> bool:
        """Of a message that no earlier life began either."""
        effort = self.effort
        return effort is not None and effort.tries == 0 and not effort.message.is_again

    def planned(self, message: Message) -> AlertSent:
        """What to write down before a message goes out."""
        return AlertSent(
            channel=self.channel, state="sending", id=message.id, threads=message.threads,
            notes=message.notes, level=message.level, title=message.title, text=message.text,
            is_over=message.is_over, reference=message.reference,
        )  # fmt: skip

    def _settle(
        self, threads: Iterable[str], notes: Iterable[str], reference: str, rule: str, now: float
    ) -> None:
        self._heard.update(notes)
        self._last_at = now
        for name in threads:
            if name not in self._told and rule:
                self._began_at[rule] = now
            self._told[name] = self._told.get(name, 0) + 1
            self._told_at[name] = now
            if reference:
                self._references.setdefault(name, reference)

    def _ready_at(self, waiting: _Waiting, now: float) -> float:
        """When the notes of a thread may go, quiet hours apart."""
        manners, thread = self.manners, waiting.thread
        if self.hurries:
            return self._last_at + manners.spacing
        if highest(waiting.notes) == "critical":
            ready = waiting.since + manners.gather_critical
        elif thread.id in self._told:
            ready = waiting.since + manners.gather
            if not thread.is_over:
                ready = max(ready, self._told_at[thread.id] + manners.follow)
        else:
            ready = waiting.since + manners.gather
            if thread.rule in self._began_at:
                ready = max(ready, self._began_at[thread.rule] + manners.cooldown)
        return max(ready, self._last_at + manners.spacing)

    def _begin(self, now: float) -> Effort | None:
        quiet = self.manners.quiet is not None and self.manners.quiet.contains(now)
        ready = [
            one
            for one in self._waiting.values()
            if self._ready_at(one, now) <= now and (not quiet or highest(one.notes) == "critical")
        ]
        if not ready:
            return None
        first = min(ready, key=lambda one: one.since)
        together = [first] if first.thread.id in self._told else self._alike(first, ready)
        for one in together:
            del self._waiting[one.thread.id]
        self._number += 1
        message = self._compose(together)
        return Effort(message=message, rule=first.thread.rule, began=now)

    def _alike(self, first: _Waiting, ready: list[_Waiting]) -> list[_Waiting]:
        """Threads that begin together and say the same sort of thing, oldest first."""
        if highest(first.notes) == "critical" and not first.thread.is_over:
            return [first]
        alike = [
            one
            for one in ready
            if one.thread.rule == first.thread.rule and one.thread.id not in self._told
        ]
        return sorted(alike, key=lambda one: one.since)

    def _compose(self, together: list[_Waiting]) -> Message:
        notes = [note for one in together for note in one.notes]
        threads = [one.thread for one in together]
        shown = together[:MOST_THREADS]
        texts = ["\n".join(note.text for note in one.notes) for one in shown]
        left = len(together) - len(shown)
        if left:
            texts.append(words("more", self.lang, count=left))
        if self.lost:
            count, last = len(self.lost), self.lost[-1]
            texts.append(words("lost", self.lang, count=count, title=last))
        first = threads[0]
        # Of a run's own news the newest names the message, of all others the most urgent.
        is_run = first.rule == "run"
        title = self._title(threads[-1] if is_run else max(threads, key=lambda t: rank(t.level)))
        if len(threads) > 1:
            title = f"{title}{aside(words('many', self.lang, count=len(threads)), self.lang)}"
        story = first.story() if len(threads) == 1 else []
        return Message(
            id=str(self._number), key=self._key(), run=self.run,
            threads=tuple(one.id for one in threads), notes=tuple(note.id for note in notes),
            level=highest(notes), title=cut(clean(title).replace("\n", " "), 300),
            text=_shown(texts), story=_shown(story), number=self._told.get(first.id, 0) + 1,
            link=self.link, reference=self._references.get(first.id, ""), lang=self.lang,
            is_over=all(one.is_over for one in threads),
            is_recovered=all(_has_recovered(one) for one in threads),
        )  # fmt: skip

    def _key(self) -> str:
        plain = f"{self.salt}\n{self.channel}\n{self._number}"
        return hashlib.blake2b(plain.encode(), digest_size=12).hexdigest()

    def _title(self, thread: Thread) -> str:
        if thread.rule in ("incident", "trend"):
            return f"{thread.id}: {thread.subject}"
        return thread.subject

    def _from_ledger(self, sent: AlertSent) -> Message:
        return Message(
            id=sent.id, run=self.run, threads=sent.threads, notes=sent.notes, level=sent.level,
            title=sent.title, text=sent.text, reference=sent.reference, is_over=sent.is_over,
            number=max((self._told.get(one, 0) for one in sent.threads), default=0) + 1,
            link=self.link, lang=self.lang, is_again=True, key=self._key(),
            is_recovered=sent.is_over and sent.level == "info" and len(sent.notes) > 1,
        )  # fmt: skip


def _has_recovered(thread: Thread) -> bool:
    """It developed, and ended well; what was told in one note only never did."""
    return thread.is_over and len(thread.notes) > 1 and thread.notes[-1].level == "info"


def _shown(lines: list[str]) -> str:
    return cut(clean("\n".join(lines)), MOST_TEXT, "\n...")
