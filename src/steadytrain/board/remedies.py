"""What was done about an incident, with its before and after in numbers."""

import math
from collections.abc import Sequence
from html import escape

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


def remedy_table(events: Sequence[Event], incident: str, domains: Sequence[str], lang: str) -> str:
    """One row for each remedy or proposal of an incident; nothing where there was none."""
    words = WORDS[lang]
    plans = [
        one for one in events if isinstance(one, Remedy | Proposal) and one.incident == incident
    ]
    carried = {one.id for one in plans if isinstance(one, Remedy)}
    plans = [one for one in plans if isinstance(one, Remedy) or one.id not in carried]
    if not plans:
        return ""
    deeds = {one.remedy: one for one in events if isinstance(one, RemedyDone)}
    outcomes = {one.remedy: one for one in events if isinstance(one, Outcome)}
    rows = []
    for one in plans:
        outcome = outcomes.get(one.id)
        result = "" if outcome is None else phrase(outcome.result, lang)
        kind = "good" if outcome is not None and outcome.result == "cured" else "bad"
        deed = words["proposed"]
        if isinstance(one, Remedy):
            deed = _deed(one, deeds.get(one.id), lang)
        cells = (
            escape(plan_words(one.plan, lang)),
            escape(say(one.why, lang)),
            escape(deed),
            f'<b class="{kind}">{escape(result)}</b>',
            _numbers(outcome.loss_before, outcome.loss_peak, outcome.loss_after) if outcome else "",
            _panel(outcome, domains) if outcome else "",
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = ("plan", "why", "deed", "outcome", "loss", "panel")
    head = "".join(f"<th>{words[name]}</th>" for name in names)
    trials = [
        _trial(trial, words, lang)
        for one in events
        if isinstance(one, TrialDone) and one.incident == incident
        for trial in one.trials
    ]
    tried = f"<h3>{words['tried']}</h3><ul>{''.join(trials)}</ul>" if trials else ""
    return (
        f"<h3>{words['title']}</h3><div class='wide'><table class='numbers remedies'>"
        f"<tr>{head}</tr>{''.join(rows)}</table></div>{tried}"
    )


def _deed(remedy: Remedy, deed: RemedyDone | None, lang: str) -> str:
    words = WORDS[lang]
    if deed is None:
        return words["pending"]
    if deed.restored_step is not None:
        return words["back"].format(step=deed.restored_step, source=phrase(deed.source or "", lang))
    return words["at"].format(step=remedy.due)


def _panel(outcome: Outcome, domains: Sequence[str]) -> str:
    lines = [
        f"{escape(name)} {_perplexity(before)} / {_perplexity(after)}"
        for name, before, after in zip(
            domains, outcome.panel_before, outcome.panel_after, strict=False
        )
    ]
    return "<br>".join(lines)


def _trial(trial: Trial, words: dict[str, str], lang: str) -> str:
    losses = ", ".join(f"{one:.3f}" for one in trial.losses)
    control = "" if trial.control is None else f"; {words['control']} {trial.control:.3f}"
    return f"<li>{escape(plan_words(trial.plan, lang))}: {words['losses']} {losses}{control}</li>"


def _numbers(*values: float | None) -> str:
    return " / ".join("-" if one is None else f"{one:.3f}" for one in values)


def _perplexity(loss: float) -> str:
    return f"{math.exp(loss):.3f}" if loss < 700 else str(loss)
