"""`steadytrain remedy RUN`: what a run proposes and has in force, and a person's word to it."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from steadytrain import codec, control, journal, plans
from steadytrain.actions import Plan
from steadytrain.control import MODES, Verb, Word
from steadytrain.errors import SettingError
from steadytrain.events import (
    Advice,
    Event,
    Judgment,
    PersonSaid,
    Proposal,
    Remedy,
    RemedyDone,
    RunEnded,
)
from steadytrain.judge.state import LAG
from steadytrain.options import LANGS, add_lang
from steadytrain.phrases import cause_words, phrase, plan_words
from steadytrain.sayings import say
from steadytrain.standing import Standing, look
from steadytrain.wording import sentence

QUIET_SECONDS = 60.0
"""A run that wrote nothing for so long may not be under way: worth a hint. Source: guess."""

POLL_SECONDS = 0.2

_EXAMPLES = """actions, an example each (several in one plan: separate them by semicolons):
{actions}

options of all but 'roll back': 'from STEP' (holds after that update; else as soon as possible, or
from where the rollback leads). 'hold STEPS': left out where it may be, it holds for good.

  steadytrain remedy runs/r1 order "roll back 1200; skip draws 5000-6000; z-loss 1e-4"
  steadytrain remedy runs/r1 order "lr 0.5 hold 100 rewarm 400" --why "we are too fast" --wait 60
"""


def add_arguments(remedy: argparse.ArgumentParser) -> None:
    """The arguments of `steadytrain remedy`."""
    remedy.formatter_class = argparse.RawDescriptionHelpFormatter
    remedy.epilog = _EXAMPLES.format(actions=plans.manual())
    remedy.add_argument("home", type=Path, metavar="RUN", help="folder of the run")
    remedy.add_argument("--json", action="store_true", help="print JSON")
    add_lang(remedy)
    remedy.set_defaults(verb="show")
    verbs = remedy.add_subparsers(metavar="VERB", help="nothing: show proposals and remedies")
    for verb, says in (
        ("accept", "let a proposal be carried out"),
        ("refuse", "do not, and say why"),
        ("order", "let a plan of your own be carried out"),
        ("mode", "only tell (observe), propose and wait (ask), or act"),
    ):
        one = verbs.add_parser(
            verb,
            help=says,
            epilog=remedy.epilog if verb == "order" else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(verb=verb)
        if verb in ("accept", "refuse"):
            one.add_argument(
                "remedy", nargs="?", metavar="ID", help="which; may be left out if one"
            )
        elif verb == "order":
            one.add_argument("plan", metavar="PLAN")
            one.add_argument("--incident", metavar="ID", help="what it is for (the open one)")
            one.add_argument("--dry-run", action="store_true", help="only print the plan as JSON")
        else:
            one.add_argument("mode", choices=MODES)
        one.add_argument("--why", default="", metavar="WORDS", help="kept in the journal")
        one.add_argument("--as", dest="name", default="", metavar="NAME", help="who says so")
        one.add_argument(
            "--wait", type=float, metavar="SECONDS", help="until the run has done it; then tell"
        )
        one.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
        one.add_argument("--lang", choices=LANGS, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Show how the run stands, or say a word to it.

    Exit status: 0 shown, sent, or done; 1 the run refused the word, or did not do it in time.

    Raises:
        SettingError, JournalError: there is no run, it has ended, or the word makes no sense.
    """
    home, standing = options.home, look(options.home)
    if options.verb == "show":
        print(json.dumps(_plain(standing)) if options.json else _shown(standing, options))
        return 0
    word = _word(standing, options)
    if options.verb == "order" and options.dry_run:
        print(json.dumps(msgspec.to_builtins(_planned(standing, word))))
        return 0
    follower = Follower(home)
    name = control.send(home, word)
    if options.wait is None:
        _tell_sent(home, name, word, options)
        return 0
    return follower.follow(name, options)


def _word(standing: Standing, options: argparse.Namespace) -> Word:
    return compose(
        options.home,
        standing,
        verb=options.mode if options.verb == "mode" else options.verb,
        remedy=getattr(options, "remedy", None),
        plan=getattr(options, "plan", ""),
        incident=getattr(options, "incident", None),
        why=options.why,
        name=options.name,
    )


def compose(
    home: Path,
    standing: Standing,
    *,
    verb: Verb,
    remedy: str | None = None,
    plan: str = "",
    incident: str | None = None,
    why: str = "",
    name: str = "",
) -> Word:
    """A word that the run would take, as it stands.

    Args:
        remedy: which proposal; None for the only one.
        incident: what an order is for; None for the open one.

    Raises:
        SettingError: it would not take it; the message says why.
    """
    if standing.has_ended:
        raise SettingError(
            f"the run has ended after step {standing.step}, so nobody hears a word. "
            "Start it again with more steps, or give the folder of a run that is under way"
        )
    said = {"words": " ".join(why.split()), "name": " ".join(name.split())}
    try:
        match verb:
            case "accept" | "refuse":
                proposal = standing.proposal(remedy)
                return Word(verb=verb, remedy=proposal.id, incident=proposal.incident, **said)
            case "order":
                word = Word(verb="order", plan=plan, incident=_incident(standing, incident), **said)
                planned = _planned(standing, word)
                standing.refuse_impossible(
                    planned, after=standing.step + LAG - 1, oldest=_oldest_state(home)
                )
                return word
        return Word(verb=verb, **said)
    except ValueError as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"the run would not take this word: {error}") from error


def _planned(standing: Standing, word: Word) -> tuple[Plan, ...]:
    return plans.parse(word.plan, after=standing.step + LAG - 1)


def _incident(standing: Standing, given: str | None) -> str | None:
    if given is None:
        return next(reversed(standing.incidents), None)
    if given not in standing.incidents:
        known = ", ".join(standing.incidents) or "none; leave --incident out"
        raise SettingError(f"{given} is no open incident of this run. Write one of: {known}")
    return given


def _oldest_state(home: Path) -> int | None:
    """Step of the oldest checkpoint on disk; what lies in memory is younger."""
    steps = [path.name.rpartition("-s")[2] for path in (home / "checkpoints").glob("a*-s*")]
    return min((int(step) for step in steps if step.isdigit()), default=None)


def _tell_sent(home: Path, name: str, word: Word, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps({"id": name, "word": msgspec.to_builtins(word)}))
    else:
        sent = f"{word.verb} {word.remedy or word.plan}".rstrip()
        print(say(f"sent {name}: {sent}", options.lang))
    quiet = time.time() - max(path.stat().st_mtime for path in journal.files(home, "rank0"))
    if quiet > QUIET_SECONDS:
        warning = (
            f"steadytrain: the run has written nothing for {quiet:.0f} s; "
            "if it is not under way, it hears this when it goes on"
        )
        print(say(warning, options.lang), file=sys.stderr)


def _shown(standing: Standing, options: argparse.Namespace) -> str:
    assert standing.began is not None
    lang = options.lang
    state = "ended after" if standing.has_ended else "is at"
    lines = [
        f"{standing.began.run} {state} step {standing.step} of {standing.began.steps or '?'}, "
        f"attempt {standing.attempt}, mode {phrase(standing.mode, lang)}"
    ]
    for incident in standing.incidents.values():
        known = _evidence(standing, incident.id, lang)
        lines.append(f"open: {incident.id} since step {incident.onset}: {known}")
    for proposal in standing.proposals.values():
        lines += _proposed("proposed", standing, proposal, lang)
        lines.append(
            f"  steadytrain remedy {options.home} accept {proposal.id}   (or: refuse {proposal.id})"
        )
    for proposal in standing.suggested.values():
        lines += _proposed("would be done, were the mode not 'observe'", standing, proposal, lang)
    for remedy in standing.asks():
        lines.append(f"asked: {remedy.id} for {remedy.incident}: {plan_words(remedy.plan, lang)}")
    holding = standing.in_force()
    for name in dict.fromkeys(one.remedy for one in holding):
        remedy = standing.remedies[name]
        lines.append(
            f"in force: {name} for {remedy.incident}, since step {remedy.due}: {remedy.why}"
        )
        for one in holding:
            if one.remedy == name:
                until = "for good" if one.until is None else f"until step {one.until}"
                lines.append(f"  {plan_words((one.action,), lang)} ({until})")
        outcome = standing.outcomes.get(name)
        if outcome is not None:
            lines.append(f"  outcome: {phrase(outcome.result, lang)}: {outcome.why}")
    if not standing.proposals:
        lines.append("nothing is proposed")
    if not holding:
        lines.append("no remedy is in force")
    return "\n".join(say(line, lang) for line in lines)


def _proposed(how: str, standing: Standing, proposal: Proposal, lang: str) -> list[str]:
    return [
        f"{how}: {proposal.id} for {proposal.incident}: {plan_words(proposal.plan, lang)}",
        f"  why: {proposal.why}",
        f"  evidence: {_evidence(standing, proposal.incident, lang)}",
        f"  as an order: {plans.write(proposal.plan)}",
    ]


def _evidence(standing: Standing, incident: str, lang: str) -> str:
    found = standing.diagnoses.get(incident)
    if found is None:
        return "not examined yet"
    top = found.causes[0]
    words = f"{cause_words(top, lang)}, {top.confidence:.0%} sure"
    return f"{words}: {top.evidence[0]}" if top.evidence else words


def _plain(standing: Standing) -> dict[str, Any]:
    assert standing.began is not None
    holding = [
        {**msgspec.to_builtins(one.action), "remedy": one.remedy, "until": one.until}
        for one in standing.in_force()
    ]
    causes = {
        one: standing.diagnoses[one] for one in standing.incidents if one in standing.diagnoses
    }
    return {
        "run": standing.began.run,
        "step": standing.step,
        "attempt": standing.attempt,
        "ended": standing.has_ended,
        "mode": standing.mode,
        "incidents": [_event(one) for one in standing.incidents.values()],
        "diagnoses": [_event(one) for one in causes.values()],
        "proposals": [_as_order(one) for one in standing.proposals.values()],
        "suggested": [_as_order(one) for one in standing.suggested.values()],
        "asked": [_event(one) for one in standing.asks()],
        "in_force": holding,
        "outcomes": [_event(one) for one in standing.outcomes.values()],
    }


def _as_order(proposal: Proposal) -> dict[str, Any]:
    return {**_event(proposal), "order": plans.write(proposal.plan)}


def _event(event: Event) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(codec.encode(event))
    return plain


@dataclass
class Follower:
    """Waits until the run has heard a word and done what follows; begins before it is said."""

    home: Path
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._tail = journal.Tail(self.home)
        self._tail.skip()

    def follow(self, name: str, options: argparse.Namespace) -> int:
        """Print what the journal says until it is done. 0: done; 1: refused, or not in time."""
        until = self.clock() + options.wait
        answer = Answer(id=name)
        while True:
            for event in self._fresh():
                if answer.hears(event):
                    _print_event(event, options)
            if answer.is_complete:
                return 1 if answer.is_declined else 0
            if answer.has_ended:
                return _give_up("steadytrain: the run ended before it heard the word", options)
            end = control.fate(self.home, name)
            if end.state == "refused":
                return _give_up(f"steadytrain: the run refused it: {end.why}", options)
            if self.clock() >= until:
                heard = "has heard it and not done it" if answer.is_heard else "has not heard it"
                late = f"steadytrain: after {options.wait:g} s the run {heard}; it may still."
                return _give_up(f"{late} Its id is {name}", options)
            self.sleep(POLL_SECONDS)

    def _fresh(self) -> list[Event]:
        return [line.event for writer, line in self._tail.poll() if writer == "rank0"]


@dataclass
class Answer:
    """What a journal holds in answer to one word: what is concluded at once, and its deed."""

    id: str
    is_heard: bool = False
    is_concluded: bool = False
    is_declined: bool = False
    has_ended: bool = False
    waits_for: str | None = None

    @property
    def is_complete(self) -> bool:
        return self.is_concluded and self.waits_for is None

    def hears(self, event: Event) -> bool:
        """Whether an event, in the order of the journal, belongs to the answer."""
        if not self.is_heard:
            self.has_ended = isinstance(event, RunEnded)
            self.is_heard = isinstance(event, PersonSaid) and event.id == self.id
            return self.is_heard
        if not self.is_concluded and isinstance(event, Judgment):
            if isinstance(event, Remedy):
                self.waits_for = event.id
            self.is_declined |= isinstance(event, Advice) and event.topic == "order"
            return True
        self.is_concluded = True
        if isinstance(event, RemedyDone) and event.remedy == self.waits_for:
            self.waits_for = None
            return True
        if isinstance(event, RunEnded):
            self.waits_for = None
            return True
        return False


def _give_up(why: str, options: argparse.Namespace) -> int:
    print(say(why, options.lang), file=sys.stderr)
    return 1


def _print_event(event: Event, options: argparse.Namespace) -> None:
    if options.json:
        print(codec.encode(event).decode(), flush=True)
        return
    words = sentence(event, lang=options.lang)
    if words is not None:
        print(words, flush=True)
