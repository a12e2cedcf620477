"""An incident as people are told of it: opened, understood, treated, over."""

from dataclasses import dataclass, field
from pathlib import Path

from steadytrain import sayings
from steadytrain.actions import AskPerson
from steadytrain.events import (
    Alarm,
    Diagnosis,
    Event,
    Incident,
    Outcome,
    PersonSaid,
    Proposal,
    Remedy,
    RemedyDone,
    TrialDone,
)
from steadytrain.news import Noted
from steadytrain.phrases import cause_words, plan_words
from steadytrain.tell import words as say
from steadytrain.tell.notes import Level, Note, Threads
from steadytrain.tell.words import words
from steadytrain.vitals import Vitals
from steadytrain.wording import sentence

MOST_ALARMS = 3
"""That an opening quotes; a bad step can set off a dozen."""

_OF_RESULT: dict[str, Level] = {"cured": "info", "not cured": "warning", "worse": "critical"}


@dataclass(kw_only=True)
class Cases:
    """Judgments about incidents, and the deeds that answer, -> notes."""

    home: Path
    threads: Threads
    _incident_of: dict[str, str] = field(default_factory=dict)
    _alarms: list[Alarm] = field(default_factory=list)

    def hear(self, event: Event, item: Noted, vitals: Vitals) -> list[Note]:
        """The news of one event, if it is about an incident."""
        match event:
            case Alarm():
                self._alarms = [one for one in self._alarms if one.step == event.step]
                self._alarms.append(event)
            case Incident(change="opened"):
                return self._opened(event, item, vitals)
            case Incident(change="grew"):
                return self.threads.say(event, item, self.threads.get(event.id), f"grew-{item.seq}")
            case Incident(change="closed"):
                thread_or_none = self.threads.get(event.id)
                return self.threads.say(event, item, thread_or_none, "closed", ends=True)
            case Diagnosis():
                known = self.threads.get(event.incident)
                if known is not None:
                    cause = cause_words(event.causes[0], self.threads.lang)
                    known.subject = f"{known.subject.split(' | ')[0]} | {cause}"
                return self.threads.say(event, item, known, f"diagnosis-{item.seq}")
            case Remedy():
                return self._remedy(event, item)
            case Proposal():
                return self._proposal(event, item, vitals)
            case TrialDone():
                return self.threads.say(
                    event, item, self.threads.get(event.incident), f"tried-{item.seq}"
                )
            case RemedyDone():
                incident = self._incident_of.get(event.remedy, "")
                return self.threads.say(
                    event, item, self.threads.get(incident), f"{event.remedy}-done"
                )
            case Outcome():
                level = _OF_RESULT[event.result]
                thread_or_none = self.threads.get(event.incident)
                return self.threads.say(
                    event, item, thread_or_none, f"{event.remedy}-outcome", level
                )
            case PersonSaid():
                return self._person(event, item)
        return []

    def _opened(self, event: Incident, item: Noted, vitals: Vitals) -> list[Note]:
        lang = self.threads.lang
        subject = say.signals(event.signals, event.directions, lang)
        thread = self.threads.begin(event.id, "incident", item.at, subject)
        thread.may_escalate = True
        # The losses first: they are what is at stake, the rest is a hint at why.
        alarms = sorted(self._alarms, key=lambda one: not one.signal.startswith("loss"))
        lines = [sentence(one, lang=lang) or "" for one in (event, *alarms[:MOST_ALARMS])]
        # A run that acts by itself heals most of these before anybody is awake.
        nobody_acts = vitals.standing.mode != "act"
        is_worst = nobody_acts and "not finite" in event.directions
        level: Level = "critical" if is_worst else "warning"
        name = f"{thread.id}/opened"
        return self.threads.note(thread, name, level, item.at, "\n".join(lines))

    def _remedy(self, event: Remedy, item: Noted) -> list[Note]:
        self._incident_of[event.id] = event.incident
        thread = self.threads.get(event.incident)
        questions = [one.question for one in event.plan if isinstance(one, AskPerson)]
        if thread is None or not questions:
            return self.threads.say(event, item, thread, event.id)
        thread.needs_person = True
        lang = self.threads.lang
        asked = [sayings.say(one, lang) for one in questions]
        text = words("asks", lang, question=say.join(asked, lang))
        return self.threads.note(thread, f"{thread.id}/{event.id}", "critical", item.at, text)

    def _proposal(self, event: Proposal, item: Noted, vitals: Vitals) -> list[Note]:
        thread = self.threads.get(event.incident)
        if thread is None:
            return []
        name = f"{thread.id}/{event.id}-proposed"
        if vitals.standing.mode == "observe":
            plan = plan_words(event.plan, self.threads.lang)
            text = words("observed", self.threads.lang, id=event.id, plan=plan)
            return self.threads.note(thread, name, "info", item.at, text)
        thread.needs_person = True
        waits = words("waits", self.threads.lang, home=self.home, id=event.id)
        lines = [sentence(event, lang=self.threads.lang) or "", waits]
        return self.threads.note(thread, name, "critical", item.at, "\n".join(lines))

    def _person(self, event: PersonSaid, item: Noted) -> list[Note]:
        """A word to the run shows that somebody looks: at its incident, or at all open ones."""
        open_ones = [one.id for one in self.threads.open_of("incident")]
        if event.verb in ("observe", "ask", "act"):
            return []
        about = [event.incident] if event.incident else open_ones
        notes = []
        for name in about:
            thread = self.threads.get(name)
            if thread is not None:
                thread.see(event.who)
                notes += self.threads.say(event, item, thread, f"said-{event.id}")
        return notes
