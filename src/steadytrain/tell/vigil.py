"""What only a clock says: nothing moves, no checkpoint comes, nobody has acknowledged.

Concluded while the teller runs, never again from an old journal; what was concluded in an earlier
life is known by what was sent.
"""

from dataclasses import dataclass, field
from pathlib import Path

from steadytrain.events import AlertSent
from steadytrain.news import Item, Noted
from steadytrain.phrases import phrase
from steadytrain.spans import span
from steadytrain.tell.notes import Note, Rule, Thread, Threads
from steadytrain.tell.words import words
from steadytrain.vitals import Vitals

NO_CHECKPOINT_LEAST = 3600.0
NO_CHECKPOINT_TIMES = 3.0
"""A checkpoint is overdue after an hour, and after so many of the longest waits. Source: guess."""

MOST_ESCALATIONS = 3
"""Then whoever is to be woken does not want to be. Source: guess."""

_RULES: dict[str, Rule] = {
    "silence-": "silence",
    "no-checkpoint-": "checkpoint",
    "vanished-": "process",
}


@dataclass(kw_only=True)
class Vigil:
    """The clock -> notes.

    Attributes:
        home: as people would write it.
        escalate_after: an incident that nobody has acknowledged for so long becomes critical. [s]
        silent_after, no_checkpoint_after: None: by the run's own pace. [seconds]
        since: what happened earlier counts as if it had happened then. [seconds since 1970]
    """

    home: Path
    threads: Threads
    escalate_after: float = 1800.0
    silent_after: float | None = None
    no_checkpoint_after: float | None = None
    since: float = 0.0
    _escalated: set[str] = field(default_factory=set)

    def tick(self, now: float, vitals: Vitals, *, vanished: int | None = None) -> list[Note]:
        """The news that only the clock brings.

        Args:
            vanished: the supervisor's process, if it is gone and should not be.
        """
        notes = self._silence(now, vitals) + self._overdue(now, vitals)
        if vanished is not None and f"vanished-{vanished}" not in self.threads.by_id:
            notes += self.threads.once(
                f"vanished-{vanished}", "process", "critical", now,
                words("vanished", self.threads.lang, pid=vanished),
                words("supervisor", self.threads.lang),
                ends=False, may_escalate=True,
            )  # fmt: skip
        return notes + self._escalations(now)

    def restore(self, sent: AlertSent, at: float) -> None:
        """What the clock said in an earlier life of the teller."""
        self._escalated.update(note for note in sent.notes if "/escalated-" in note)
        for name in sent.threads:
            for prefix, rule in _RULES.items():
                if name.startswith(prefix) and sent.state == "sending":
                    self._restore(name, rule, sent, at)

    def note(self, item: Item) -> None:
        """The same, of a line as it is read."""
        if isinstance(item, Noted) and isinstance(item.event, AlertSent):
            self.restore(item.event, item.at)

    @property
    def waits(self) -> bool:
        """Whether a thread may still become more urgent: nobody has seen it."""
        return any(self._may_escalate(one) for one in self.threads.by_id.values())

    def _restore(self, name: str, rule: Rule, sent: AlertSent, at: float) -> None:
        thread = self.threads.get(name) or self.threads.begin(name, rule, at, sent.title)
        thread.may_escalate = rule != "checkpoint"
        text = sent.text if sent.threads == (name,) else sent.title
        for note in sent.notes:
            if note.startswith(f"{name}/"):
                over = note.endswith("/over")
                self.threads.note(thread, note, sent.level, at, text, ends=over)

    def _silence(self, now: float, vitals: Vitals) -> list[Note]:
        limit = self.silent_after or vitals.patience
        began = vitals.standing.began
        is_over = began is None or vitals.standing.has_ended or vitals.gave_up is not None
        silent = vitals.silence
        open_ones = self.threads.open("silence-")
        if is_over or silent <= limit:
            longest = max((now - one.opened_at for one in open_ones), default=0.0)
            text = words(
                "moves",
                self.threads.lang,
                step=vitals.standing.step,
                time=span(longest, self.threads.lang),
            )
            return [
                note
                for one in open_ones
                for note in self.threads.note(one, f"{one.id}/over", "info", now, text, ends=True)
            ]
        name = f"silence-a{vitals.standing.attempt}-s{vitals.standing.step}"
        if open_ones or name in self.threads.by_id:
            return []
        alive = [one for one in vitals.beats if one.is_alive and one.seconds is not None]
        slowest = max(alive, key=lambda one: one.seconds or 0.0, default=None)
        where = ""
        if slowest is not None:
            lang = self.threads.lang
            where = words("where", lang, phase=phrase(slowest.phase, lang), rank=slowest.number)
        text = words(
            "silent", self.threads.lang, time=span(silent, self.threads.lang),
            step=vitals.standing.step, where=where,
            usual=span(max(vitals.recent, default=0.0), self.threads.lang),
        )  # fmt: skip
        return self.threads.once(
            name, "silence", "critical", now, text, words("silence", self.threads.lang), ends=False,
            may_escalate=True,
        )  # fmt: skip

    def _overdue(self, now: float, vitals: Vitals) -> list[Note]:
        began = max(vitals.checkpoint_at or 0.0, vitals.attempt_at or 0.0)
        moving = vitals.state == "running" and vitals.attempt_at is not None
        usual = max(NO_CHECKPOINT_LEAST, NO_CHECKPOINT_TIMES * vitals.longest_wait)
        waited = now - began
        name = f"no-checkpoint-s{vitals.checkpoint.step if vitals.checkpoint else 0}"
        if (
            not moving
            or waited <= (self.no_checkpoint_after or usual)
            or name in self.threads.by_id
        ):
            return []
        if vitals.checkpoint is None:
            text = words(
                "no checkpoint yet", self.threads.lang, time=span(waited, self.threads.lang)
            )
        else:
            text = words(
                "no checkpoint",
                self.threads.lang,
                time=span(waited, self.threads.lang),
                step=vitals.checkpoint.step,
            )
        return self.threads.once(
            name,
            "checkpoint",
            "warning",
            now,
            text,
            words("checkpoints", self.threads.lang),
            ends=False,
        )

    def _escalations(self, now: float) -> list[Note]:
        notes: list[Note] = []
        for thread in self.threads.by_id.values():
            waited = now - max(thread.opened_at, self.since)
            for count in range(1, MOST_ESCALATIONS + 1):
                name = f"{thread.id}/escalated-{count}"
                is_due = waited >= count * self.escalate_after and self._may_escalate(thread)
                if not is_due or name in self._escalated:
                    continue
                # After a long sleep of the teller one reminder is enough.
                self._escalated |= {f"{thread.id}/escalated-{n}" for n in range(1, count + 1)}
                last = int(waited // self.escalate_after)
                self._escalated |= {f"{thread.id}/escalated-{n}" for n in range(1, last + 1)}
                text = words(
                    "escalated",
                    self.threads.lang,
                    time=span(waited, self.threads.lang),
                    home=self.home,
                    thread=thread.id,
                )
                notes += self.threads.note(thread, name, "critical", now, text)
                break
        return notes

    def _may_escalate(self, thread: Thread) -> bool:
        is_left = f"{thread.id}/escalated-{MOST_ESCALATIONS}" not in self._escalated
        is_open = not thread.is_over and not thread.seen_by
        return thread.may_escalate and is_open and is_left
