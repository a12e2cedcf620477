"""What of a journal people are told, and how urgently.

An id of a note follows from its line of the journal alone: the same after a restart. What only a
clock says is in `vigil.py`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from steadytrain.events import (
    Advice,
    AlertAcknowledged,
    AttemptBegan,
    CheckpointFailed,
    CheckpointMirrored,
    CheckpointRefused,
    CheckpointSaved,
    Event,
    GiveUp,
    JudgingEnded,
    MirrorFailed,
    ProcessExited,
    Restart,
    RestoreVerified,
    RunBegan,
    RunEnded,
    Trend,
    WorkersFinished,
)
from steadytrain.news import Item, Noted, Step
from steadytrain.phrases import phrase
from steadytrain.sayings import translated
from steadytrain.tell import words as say
from steadytrain.tell.cases import Cases
from steadytrain.tell.notes import Level, Note, Thread, Threads
from steadytrain.tell.words import words
from steadytrain.vitals import Vitals
from steadytrain.wording import sentence

FAILED_IN_A_ROW = 2
FAILED_CRITICAL = 4
"""Checkpoints that fail one after another: one is a hiccup of the disk. Source: guess."""


@dataclass(kw_only=True)
class Rules:
    """Lines of a journal -> notes in threads; `home` as people would write it."""

    home: Path
    threads: Threads
    _failed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._cases = Cases(home=self.home, threads=self.threads)

    def hear(self, item: Item, vitals: Vitals) -> list[Note]:
        """The news of one line; `vitals` knows everything up to it."""
        if isinstance(item, Step):
            return []
        event = item.event
        if item.writer == "tell":
            return self._acknowledged(event, item.at)
        notes = self._cases.hear(event, item, vitals)
        notes += self._run(event, item, vitals)
        notes += self._process(event, item)
        notes += self._checkpoint(event, item)
        notes += self._mirror(event, item, vitals)
        return notes + self._judgment(event, item)

    def _run(self, event: Event, item: Noted, vitals: Vitals) -> list[Note]:
        match event:
            case RunBegan():
                text = words(
                    "began", self.threads.lang, parameters=event.parameters, world=event.world,
                    steps=event.steps or words("no steps", self.threads.lang),
                )  # fmt: skip
                return self.threads.once("began", "run", "info", item.at, text, text)
            case RunEnded():
                losses = ", ".join(f"{k} {v:.3f}" for k, v in vitals.domain_losses().items())
                text = words(
                    "ended",
                    self.threads.lang,
                    step=event.step,
                    losses=say.reason(losses, self.threads.lang),
                )
                return self.threads.once(
                    f"ended-a{event.attempt}-s{event.step}", "run", "info", item.at, text, text
                )
            case AttemptBegan(cause="restart"):
                return self._resumed(event, item)
            case Advice():
                name = f"advice-{event.topic}-{item.seq}"
                text = sentence(event, lang=self.threads.lang) or event.text
                # All other advice is of a run that learns.
                level: Level = "warning" if event.topic == "unigram" else "info"
                return self.threads.once(
                    name, "advice", level, item.at, text, words("advice", self.threads.lang)
                )
        return []

    def _resumed(self, event: AttemptBegan, item: Noted) -> list[Note]:
        origin = phrase(event.checkpoint or "the beginning", self.threads.lang)
        text = words("resumed", self.threads.lang, step=event.step, origin=origin)
        down = self.threads.open_of("process")
        if not down:
            return self.threads.once(
                f"resumed-a{event.attempt}", "run", "info", item.at, text, text
            )
        notes = []
        for thread in down:
            name = f"{thread.id}/resumed-a{event.attempt}"
            notes += self.threads.note(thread, name, "info", item.at, text, ends=True)
        return notes

    def _process(self, event: Event, item: Noted) -> list[Note]:
        match event:
            case ProcessExited():
                subject = words("process hung" if event.hung else "process", self.threads.lang)
                name = f"exit-g{event.generation}"
                thread = self.threads.get(name) or self.threads.begin(
                    name, "process", item.at, subject
                )
                return self.threads.say(
                    event, item, thread, f"rank{event.rank}-{item.seq}", "warning"
                )
            case Restart():
                return self.threads.say(event, item, self._down(), f"restart-{item.seq}")
            case GiveUp():
                thread = self._down() or self.threads.begin(
                    f"gave-up-{item.seq}", "process", item.at, ""
                )
                thread.subject = words("gave up", self.threads.lang)
                thread.may_escalate = True
                return self.threads.say(event, item, thread, f"gave-up-{item.seq}", "critical")
            case WorkersFinished():
                for thread in self.threads.by_id.values():
                    thread.is_over |= thread.rule == "process"
        return []

    def _down(self) -> Thread | None:
        down = self.threads.open_of("process")
        return down[-1] if down else None

    def _checkpoint(self, event: Event, item: Noted) -> list[Note]:
        match event:
            case CheckpointSaved():
                return self._saved(event, item)
            case CheckpointFailed():
                return self._checkpoint_failed(event, item)
            case CheckpointRefused():
                return self.threads.once(
                    f"refused-{item.seq}", "checkpoint", "warning", item.at,
                    sentence(event, lang=self.threads.lang) or "",
                    words("refused", self.threads.lang),
                )  # fmt: skip
            case RestoreVerified() if event.differences and event.source != "rehearsal":
                text = sentence(event, lang=self.threads.lang) or "; ".join(event.differences)
                return self.threads.once(
                    f"restore-{item.seq}", "checkpoint", "warning", item.at, text,
                    words("restore refused", self.threads.lang),
                )  # fmt: skip
        return []

    def _saved(self, event: CheckpointSaved, item: Noted) -> list[Note]:
        self._failed.clear()
        notes = []
        for thread in self.threads.open("checkpoints-", "no-checkpoint-"):
            text = words("checkpoint again", self.threads.lang, step=event.step)
            name = f"{thread.id}/over"
            notes += self.threads.note(thread, name, "info", item.at, text, ends=True)
        return notes

    def _checkpoint_failed(self, event: CheckpointFailed, item: Noted) -> list[Note]:
        self._failed.append(item.seq)
        count = len(self._failed)
        if count < FAILED_IN_A_ROW:
            return []
        name = f"checkpoints-{self._failed[0]}"
        thread = self.threads.get(name) or self.threads.begin(
            name, "checkpoint", item.at, words("checkpoints", self.threads.lang)
        )
        level: Level = "critical" if count >= FAILED_CRITICAL else "warning"
        thread.may_escalate = level == "critical"
        reason = translated(event, self.threads.lang).reason
        said = words("checkpoint failed", self.threads.lang, count=count, reason=reason)
        return self.threads.note(thread, f"{name}/{item.seq}", level, item.at, said)

    def _mirror(self, event: Event, item: Noted, vitals: Vitals) -> list[Note]:
        """The first failure, then the 2nd, 4th, 8th in a row; until all is there again."""
        lang = self.threads.lang
        match event:
            case MirrorFailed():
                count = vitals.mirror_failed_in_a_row
                down = self.threads.open("mirror-")
                if count & (count - 1):
                    return []
                thread = (
                    down[0]
                    if down
                    else self.threads.begin(
                        f"mirror-{item.seq}", "checkpoint", item.at, words("mirror", lang)
                    )
                )
                return self.threads.say(event, item, thread, str(item.seq), "warning")
            case CheckpointMirrored():
                notes = []
                for thread in self.threads.open("mirror-"):
                    text = words("mirror again", lang, step=event.step)
                    name = f"{thread.id}/over"
                    notes += self.threads.note(thread, name, "info", item.at, text, ends=True)
                return notes
        return []

    def _judgment(self, event: Event, item: Noted) -> list[Note]:
        match event:
            case JudgingEnded():
                thread = self.threads.begin(
                    f"judging-{item.seq}", "judging", item.at, words("judging", self.threads.lang)
                )
                thread.may_escalate = True
                return self.threads.say(event, item, thread, "ended", "critical")
            case AttemptBegan():
                notes = []
                for thread in self.threads.open("judging-"):
                    text = words("judging again", self.threads.lang, step=event.step)
                    name = f"{thread.id}/again"
                    notes += self.threads.note(thread, name, "info", item.at, text, ends=True)
                return notes
            case Trend():
                return self._trend(event, item)
        return []

    def _trend(self, event: Trend, item: Noted) -> list[Note]:
        known = self.threads.get(event.id)
        is_news = not event.is_expected or event.state == "did not"
        if known is None and not is_news:
            return []
        lines = say.trend(event, self.threads.lang)
        lang = self.threads.lang
        domains = say.list_of(event.domains, lang)
        subject = f"{phrase(event.pattern, lang)}{say.aside(domains, lang)}"
        thread = known or self.threads.begin(event.id, "trend", item.at, subject)
        level: Level = "warning" if is_news and event.state in ("explained", "did not") else "info"
        ends = event.state != "explained"
        name = f"{thread.id}/{event.state}-{item.seq}"
        return self.threads.note(thread, name, level, item.at, "\n".join(lines), ends=ends)

    def _acknowledged(self, event: Event, at: float) -> list[Note]:
        if not isinstance(event, AlertAcknowledged):
            return []
        thread = self.threads.get(event.thread)
        if thread is None:
            return []
        thread.see(event.who)
        why = say.reason(event.words, self.threads.lang)
        text = words("acknowledged", self.threads.lang, who=event.who, why=why)
        name = f"{thread.id}/seen-{event.id}"
        return self.threads.note(thread, name, "info", at, text, ends=thread.is_over)
