"""What was done about an incident, with its before and after in numbers."""

import math
from collections.abc import Sequence

from steadytrain.board.blocks import Block, Cell, Heading, Item, Items, Table
from steadytrain.events import Event, Outcome, Proposal, Remedy, RemedyDone, Trial, TrialDone
from steadytrain.phrases import phrase, plan_words
from steadytrain.sayings import say

WORDS = {
    "en": {
        "title": "What was done", "plan": "plan", "why": "why", "deed": "carried out",
        "outcome": "outcome", "loss": "loss before / highest / after",
        "panel": "panel perplexity before / after", "proposed": "proposed",
        "back": "state of step {step}, from the {source}", "at": "before step {step}",
        "pending": "not yet", "tried": "Tried before it",
        "losses": "losses of its updates", "control": "control loss",
    },
    "zh": {
        "title": "处置经过", "plan": "方案", "why": "理由", "deed": "执行情况",
        "outcome": "结果", "loss": "损失：之前 / 最高 / 之后", "panel": "样本困惑度：之前 / 之后",
        "proposed": "仅提议", "back": "第 {step} 步的状态，取自{source}", "at": "第 {step} 步之前",
        "pending": "尚未执行", "tried": "此前的试验",
        "losses": "各步损失", "control": "对照损失",
    },
}  # fmt: skip


def remedy_table(
    events: Sequence[Event], incident: str, domains: Sequence[str], lang: str
) -> list[Block]:
    """One row for each remedy or proposal of an incident; nothing where there was none."""
    words = WORDS[lang]
    plans = [
        one for one in events if isinstance(one, Remedy | Proposal) and one.incident == incident
    ]
    carried = {one.id for one in plans if isinstance(one, Remedy)}
    plans = [one for one in plans if isinstance(one, Remedy) or one.id not in carried]
    if not plans:
        return []
    deeds = {one.remedy: one for one in events if isinstance(one, RemedyDone)}
    outcomes = {one.remedy: one for one in events if isinstance(one, Outcome)}
    names = ("plan", "why", "deed", "outcome", "loss", "panel")
    rows: list[list[Cell | str]] = [[words[name] for name in names]]
    for one in plans:
        outcome = outcomes.get(one.id)
        is_good = outcome is not None and outcome.result == "cured"
        deed = words["proposed"]
        if isinstance(one, Remedy):
            deed = _deed(one, deeds.get(one.id), lang)
        result = Cell(phrase(outcome.result, lang) if outcome else "", "good" if is_good else "bad")
        losses = (outcome.loss_before, outcome.loss_peak, outcome.loss_after) if outcome else ()
        panel = _panel(outcome, domains) if outcome else ""
        plan = plan_words(one.plan, lang)
        rows.append([plan, say(one.why, lang), deed, result, _numbers(*losses), panel])
    found: list[Block] = [Heading(3, words["title"]), Table(rows)]
    trials = [
        _trial(trial, words, lang)
        for one in events
        if isinstance(one, TrialDone) and one.incident == incident
        for trial in one.trials
    ]
    if trials:
        found += [Heading(3, words["tried"]), Items(trials, is_ordered=False)]
    return found


def _deed(remedy: Remedy, deed: RemedyDone | None, lang: str) -> str:
    words = WORDS[lang]
    if deed is None:
        return words["pending"]
    if deed.restored_step is not None:
        return words["back"].format(step=deed.restored_step, source=phrase(deed.source or "", lang))
    return words["at"].format(step=remedy.due)


def _panel(outcome: Outcome, domains: Sequence[str]) -> str:
    lines = [
        f"{name} {_perplexity(before)} / {_perplexity(after)}"
        for name, before, after in zip(
            domains, outcome.panel_before, outcome.panel_after, strict=False
        )
    ]
    return "\n".join(lines)


def _trial(trial: Trial, words: dict[str, str], lang: str) -> Item:
    losses = ", ".join(f"{one:.3f}" for one in trial.losses)
    control = "" if trial.control is None else f"; {words['control']} {trial.control:.3f}"
    return Item(f"{plan_words(trial.plan, lang)}: {words['losses']} {losses}{control}")


def _numbers(*values: float | None) -> str:
    return " / ".join("-" if one is None else f"{one:.3f}" for one in values)


def _perplexity(loss: float) -> str:
    return f"{math.exp(loss):.3f}" if loss < 700 else str(loss)
