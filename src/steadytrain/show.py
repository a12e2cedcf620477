"""`steadytrain show RUN --step N`: which sequences were in it, and what is odd about them?"""

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytrain import journal, provenance
from steadytrain.errors import SettingError
from steadytrain.events import PanelDrawn, RunBegan
from steadytrain.panels import FixedPanel
from steadytrain.panels.overlap import Overlap
from steadytrain.sayings import say
from steadytrain.text import lint
from steadytrain.widths import padded

BEFORE = 32
"""Steps whose losses say what is usual in a domain."""

MAD_TO_SIGMA = 1.4826
EXCERPT = 160
HEAD = "      draw domain          loss      z  text"
"""Of columns that are 10, 12, 7 and 6 wide."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One sequence of a step.

    Attributes:
        z: robust distance of its loss from those of its domain in the 32 steps before and in this.
        verdict, defect, evidence: what the lint says of its text; None where no text can be had.
            "leaked" and "panel" where it holds text of the fixed panel.
    """

    draw: int
    rank: int
    domain: str
    loss: float
    z: float
    repeats: int
    verdict: str | None
    defect: str | None
    evidence: str
    source: str
    text: str | None


def show(home: Path, step: int, *, order: str | None = None) -> list[Shown]:
    """The sequences of a step, the oddest first.

    Args:
        order: "module:function" that gives the run's data order; None for what the run itself
            told (`Session(order_from=...)`).

    Raises:
        SettingError: the run kept no such step, or the data order cannot be had.
    """
    began = next((one for one in journal.read(home) if isinstance(one, RunBegan)), None)
    try:
        rows = provenance.read(home, step - BEFORE, step)
    except FileNotFoundError as error:
        raise SettingError(
            f"{home} holds no {provenance.FOLDER}/ folder, so nobody knows which sequences were in "
            "its steps. A Session writes it unless provenance=False was given."
        ) from error
    mine = rows[rows["step"] == step]
    if not len(mine):
        raise SettingError(
            f"step {step} is not in {home}/{provenance.FOLDER}. Name a step that the run has made."
        )
    data = _open_order(order or (began.order if began else None), home)
    names = began.domains if began else ()
    digests, counts = np.unique(rows["digest"], return_counts=True)
    times = dict(zip(digests.tolist(), counts.tolist(), strict=True))
    found = []
    panels: list[tuple[FixedPanel, Overlap]] | None = None
    for row, z in zip(mine, _distances(rows, mine), strict=True):
        draw, domain = int(row["draw"]), int(row["domain"])
        name = names[domain] if domain < len(names) else str(domain)
        text = data.text(draw) if data is not None else None
        verdict = lint(text, domain=name) if text is not None else None
        known = provenance.DEFECTS[int(row["defect"])] or None
        evidence = verdict.evidence if verdict else ""
        kind = verdict.kind if verdict else known
        says = verdict.verdict if verdict else ("corrupt" if known else None)
        if known == provenance.LEAKED and kind in (None, known):
            panels = _panels(home) if panels is None else panels
            kind, says, evidence = known, "leaked", _leak(panels, text or "")
        found.append(
            Shown(
                draw=draw, rank=int(row["rank"]), domain=name, loss=float(row["loss"]), z=z,
                repeats=times[int(row["digest"])] - 1,
                verdict=says, defect=kind, evidence=evidence,
                source=data.block(draw).source if data is not None else "", text=text,
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: (one.defect is None, -abs(one.z)))


def run(
    home: Path, step: int, *, order: str | None, top: int, as_json: bool, lang: str = "en"
) -> int:
    """Print them; returns 1 if one of them is corrupt or holds text of the panel."""
    found = show(home, step, order=order)
    if as_json:
        for one in found:
            print(json.dumps(asdict(one), ensure_ascii=False))
        return int(any(one.defect for one in found))
    leaked = sum(one.defect == provenance.LEAKED for one in found)
    corrupt = sum(one.defect is not None for one in found) - leaked
    title = f"step {step}: {len(found)} sequences, {corrupt} corrupt"
    print(say(f"{title}, {leaked} with text of the panel" if leaked else title, lang))
    print(say(HEAD, lang))
    for one in found[:top]:
        words = say(one.defect or one.verdict or "not read", lang)
        again = say(f", came {one.repeats} times before", lang) if one.repeats > 0 else ""
        why = f": {say(one.evidence, lang)}" if one.evidence else ""
        print(
            f"{one.draw:>10} {padded(one.domain, 12)} {one.loss:>7.3f} {one.z:>6.1f}  "
            f"{words}{again}{why}"
        )
        if one.source:
            print(f"{'':>11}{one.source}")
        if one.text is not None:
            print(f"{'':>11}{visible(one.text[:EXCERPT])}")
    if len(found) > top:
        more = f"... and {len(found) - top} more; --top {len(found)} shows them all"
        print(say(more, lang))
    if found[0].text is None:
        hidden = "The text is not shown: name the data order with --order module:function."
        print(say(hidden, lang))
    return int(corrupt + leaked > 0)


def visible(text: str) -> str:
    """One line in which nothing hides: control and direction characters are spelled."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _panels(home: Path) -> list[tuple[FixedPanel, Overlap]]:
    """The panels that a run has had and still holds, the newest first."""
    paths = [
        home / one.path for one in journal.read(home) if isinstance(one, PanelDrawn) and one.path
    ]
    held = [FixedPanel.read(path) for path in reversed(paths) if path.exists()]
    return [(panel, Overlap(panel)) for panel in held]


def _leak(panels: Sequence[tuple[FixedPanel, Overlap]], text: str) -> str:
    """Which sequence of a panel a text holds, as far as that can be told."""
    for panel, overlap in panels:
        (match,) = overlap.find([text])
        if match is not None:
            mine = panel.sequences[match.sequence]
            where = mine.source or f"sequence {match.sequence}"
            domain = panel.domains[mine.domain]
            return f"holds {match.share:.0%} of the panel's text from {where} ({domain})"
    return "holds text of the panel"


def _distances(rows: NDArray[np.void], mine: NDArray[np.void]) -> list[float]:
    found = []
    for row in mine:
        losses = rows["loss"][rows["domain"] == row["domain"]].astype(np.float64)
        losses = losses[np.isfinite(losses)]
        centre = float(np.median(losses)) if len(losses) else 0.0
        spread = MAD_TO_SIGMA * float(np.median(np.abs(losses - centre))) if len(losses) else 0.0
        far = float(row["loss"]) - centre
        found.append(far / spread if spread > 0 else 0.0)
    return found


def _open_order(name: str | None, home: Path) -> Any:
    """The data order that "module:function" gives; the function is called with the run's home."""
    if not name:
        return None
    module, _, function = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), function)(Path(home))
    except (ImportError, AttributeError, TypeError) as error:
        raise SettingError(
            f"--order {name} gives no data order ({error}). Write --order package.module:function, "
            "where function(home) returns what the Feed of the run was made of."
        ) from error
    finally:
        sys.path.pop(0)
