"""A run's report, alone or beside another run: one HTML file, or Markdown; English or Chinese."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from steadytrain.board import hypertext, markdown
from steadytrain.board.blocks import Bar, Block, Facts, Heading, Item, Items, Pictures, Table, Text
from steadytrain.board.casebook import incident_table, opened, story
from steadytrain.board.charts import Flag, Line, chart
from steadytrain.board.comparison import comparison
from steadytrain.board.page import WORDS
from steadytrain.board.perplexity import panel_section
from steadytrain.board.persons import persons_section
from steadytrain.board.record import Record, read
from steadytrain.board.series import Floats, Run, collect
from steadytrain.errors import SettingError
from steadytrain.events import (
    Advice,
    AttemptBegan,
    CheckpointFailed,
    CheckpointRefused,
    CheckpointSaved,
    JudgingEnded,
    Outcome,
    RunEnded,
)
from steadytrain.goodput import Account
from steadytrain.goodput_words import part_words, remarks, rows
from steadytrain.phrases import phrase
from steadytrain.sayings import say
from steadytrain.stints import PARTS
from steadytrain.wording import sentence

Format = Literal["html", "md"]

LEAST_SHARE = 0.0005
"""A part of the time below this has no place in the bar."""


def write_report(
    home: Path,
    out: Path | None = None,
    *,
    against: Path | None = None,
    kind: Format = "html",
    lang: str = "en",
) -> Path:
    """Write the report of a run, finished or not; returns the file.

    Args:
        out: None for HOME/report.html, or HOME/report.md.
        against: the home of another run to compare with.

    Raises:
        JournalError: a home holds no run.
        SettingError: the file cannot be written.
    """
    home = Path(home)
    path = out or home / f"report.{kind}"
    text = report(home, against=against, kind=kind, lang=lang)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(
            f"the report cannot be written to {path} ({error.strerror}). Name a file in a folder "
            "that is there and yours with --out FILE, or print it with --out -."
        ) from error
    return path


def report(
    home: Path, *, against: Path | None = None, kind: Format = "html", lang: str = "en"
) -> str:
    """The same as text.

    Raises:
        JournalError: a home holds no run.
    """
    one = read(home)
    if against is None:
        title, blocks = one.name, _alone(one, lang)
    else:
        other = read(against)
        title = WORDS[lang]["versus"].format(a=one.name, b=other.name)
        blocks = comparison(one, other, lang)
    return hypertext.page(title, blocks, lang) if kind == "html" else markdown.document(blocks)


def _alone(one: Record, lang: str) -> list[Block]:
    words = WORDS[lang]
    run = collect(one.events, one.began.domains)
    blocks: list[Block] = [
        Heading(1, one.name),
        Text(_verdict(one, words), "verdict"),
        *([Text(words["damaged"].format(count=one.num_bad), "note")] if one.num_bad else []),
        _facts(one, run, lang),
        Heading(2, words["account"]),
        *account_blocks(one.account, lang),
        *_advice(one, lang),
        Heading(2, words["incidents"]),
        incident_table(one, lang),
        Heading(2, words["curves"]),
        *_curves(one, run, words),
        Heading(2, words["panel"]),
        *panel_section(one.events, words, lang),
        *persons_section(one.home, one.events, lang),
    ]
    for incident in opened(one):
        blocks += story(one, incident, lang)
    return [*blocks, Heading(2, words["processes"]), _processes(one, lang)]


def account_blocks(account: Account, lang: str) -> list[Block]:
    """Where the time went: a bar, a table, what follows from it."""
    words = WORDS[lang]
    if account.goodput is None:
        return [Text(words["nothing"])]
    parts = [
        (part_words(part, lang), part, account.share(part))
        for part in PARTS
        if account.share(part) >= LEAST_SHARE
    ]
    heads = (words["part"], words["time"], words["share"])
    return [
        Bar(words["account"], parts),
        Table([heads, *rows(account, lang)], has_numbers=True),
        *[Text(one) for one in remarks(account, lang)],
    ]


def _verdict(one: Record, words: dict[str, str]) -> str:
    cured = {each.incident for each in one.of(Outcome) if each.result == "cured"}
    ended = any(True for _ in one.of(RunEnded))
    newest = one.found.record.step if one.found.record is not None else 0
    state = words["ended"] if ended else words["going"]
    count = len(opened(one))
    return words["verdict"].format(state=state, step=newest, count=count, cured=len(cured))


def _facts(one: Record, run: Run, lang: str) -> Facts:
    words = WORDS[lang]
    began = one.began
    attempts = ", ".join(
        f"{each.attempt} {phrase(each.cause, lang)}" for each in one.of(AttemptBegan)
    )
    return Facts(
        (
            (words["domains"], ", ".join(began.domains)),
            (words["parameters"], f"{began.parameters:,}"),
            (words["steps"], f"{int(run.steps.max(initial=0)):,} / {began.steps or '?'}"),
            (words["tokens"], f"{one.account.tokens:,}"),
            (words["redone"], f"{int((~run.kept).sum()):,}"),
            (words["held"], f"{int((~run.committed).sum()):,}"),
            (words["attempts"], attempts),
            (words["checkpoints"], str(len(list(one.of(CheckpointSaved))))),
            (words["versions"], ", ".join(f"{k} {v}" for k, v in began.versions.items())),
        )
    )


def _advice(one: Record, lang: str) -> list[Block]:
    """The newest of each topic."""
    said = {each.topic: each.text for each in one.of(Advice)}
    if not said:
        return []
    items = [Item(say(text, lang)) for text in said.values()]
    return [Heading(2, WORDS[lang]["advice"]), Items(items, is_ordered=False)]


def _curves(one: Record, run: Run, words: dict[str, str]) -> list[Block]:
    if not run.steps.size:
        return [Text(words["empty"])]
    flags = [
        Flag(x=each.onset, label=str(number), anchor=each.id)
        for number, each in enumerate(opened(one), start=1)
    ]
    strange = ~run.committed | ~np.isfinite(run.series["loss"])
    strange |= np.isinf(run.series["grad_norm"])
    alarms = np.unique(run.steps[strange]).astype(np.float64)
    last = float(run.steps.max())

    def draw(title: str, names: Sequence[tuple[str, str]], *, log: bool = False) -> str:
        lines = []
        for index, (name, label) in enumerate(names):
            values = run.series[name]
            if np.isnan(values).all():
                continue
            lines += _branches(run, values, label, index)
        return chart(title, lines, flags=flags, alarms=alarms, log=log, last_step=last)

    domains = one.began.domains
    found = [draw(words["loss"], [(f"loss:{name}", name) for name in domains])]
    found += [draw(f"{words['loss']}: {name}", [(f"loss:{name}", name)]) for name in domains]
    found += [
        draw(words["grad"], [("grad_norm", "")], log=True),
        draw(words["lr"], [("lr", words["used"]), ("lr_planned", words["planned"])], log=True),
        draw(words["update"], [("update", "")], log=True),
        draw(words["speed"], [("tokens/s", "")]),
    ]
    return [Pictures(found, _in_numbers(run, words)), Text(words["legend"], "small")]


def _in_numbers(run: Run, words: dict[str, str]) -> Table:
    """The surviving curves, for where none can be drawn."""
    names = ("number", "first", "least", "most", "last")
    rows = [[words[name] for name in names]]
    for name, values in run.series.items():
        known = values[run.kept]
        finite = known[np.isfinite(known)]
        if finite.size:
            shown = (known[0], finite.min(), finite.max(), known[-1])
            rows.append([name, *(f"{one:.4g}" for one in shown)])
    return Table(rows, has_numbers=True)


def _branches(run: Run, values: Floats, label: str, colour: int) -> list[Line]:
    """The surviving curve, and each abandoned stretch as a faint one."""
    lines = []
    given_up = np.flatnonzero(~run.kept)
    for stretch in np.split(given_up, np.flatnonzero(np.diff(given_up) > 1) + 1):
        if stretch.size:
            lines.append(
                Line(
                    name="",
                    x=run.steps[stretch].astype(float),
                    y=values[stretch],
                    colour=colour,
                    faint=True,
                )
            )
    order = np.argsort(run.steps[run.kept], kind="stable")
    x = run.steps[run.kept][order].astype(float)
    return [*lines, Line(name=label, x=x, y=values[run.kept][order], colour=colour)]


def _processes(one: Record, lang: str) -> Block:
    kinds = (CheckpointRefused, CheckpointFailed, AttemptBegan, JudgingEnded)
    told = [
        each.event
        for each in one.noted
        if each.writer.startswith("supervisor") or isinstance(each.event, kinds)
    ]
    items = [Item(said) for event in told if (said := sentence(event, lang=lang)) is not None]
    return Items(items) if items else Text(WORDS[lang]["no_exits"])
