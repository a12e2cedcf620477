"""Looks at the panel: which panel it is, which looks were made, and what is written of them."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from steadytrain.events import PanelDrawn
from steadytrain.panels.fixed import FOLDER
from steadytrain.panels.overlap import Overlap
from steadytrain.progress import Beacon
from steadytrain.train.panel import Panel
from steadytrain.train.ranks import Ranks
from steadytrain.train.trajectory import Trajectory


class Looks:
    """The looks of one life at a panel, on all ranks alike; without a panel there are none.

    A look that an earlier life made at the same step of the same branch is not made again.

    Args:
        overlap: finds text of the panel in training; None: nobody looks for it.

    Attributes:
        version: of the panel, as `PanelDrawn` counts them.
    """

    def __init__(
        self,
        panel: Panel | None,
        *,
        overlap: Overlap | None,
        home: Path,
        trajectory: Trajectory,
        model: nn.Module,
        ranks: Ranks,
        device: torch.device,
        beacon: Beacon,
        say: Callable[[str], None],
    ) -> None:
        self._panel = panel
        self._overlap = overlap
        self._home = home
        self._at = trajectory
        self._model = model
        self._ranks = ranks
        self._device = device
        self._beacon = beacon
        self._say = say
        self._trained_in: torch.dtype | None = None
        self._has_said = False
        self.version = 1
        self._before: set[int] = set()
        self._made: set[int] = set()

    def begin(self) -> None:
        """When a life has begun: put the panel on record, if it is news. Every rank."""
        if self._panel is None:
            return
        told: tuple[int, set[int]] | None = None
        memory = self._at.memory
        if memory is not None:
            history = memory.history
            drawn = history.drawn
            self._write(self._panel)
            if drawn is None or drawn.digest != self._panel.digest:
                drawn = self._drawn(self._panel, drawn)
                memory.tell(drawn)
            looked = {at for at, version in history.looks.items() if version == drawn.version}
            told = drawn.version, looked
        told = self._ranks.tell(told)
        assert told is not None
        self.version, self._before = told

    def look_first(self) -> None:
        """The first look at a panel: before the first update that it can tell of."""
        if self._panel is not None and not self._before and not self._made:
            why = "before the run" if self.version == 1 else "new panel"
            self.look(self._at.step, why=why)

    def look(self, step: int, *, why: str) -> None:
        """Look after update `step`, unless that is on record. Every rank, same order."""
        if step not in self._before:
            self.look_again(step, why=why)

    def look_again(self, step: int, *, why: str) -> None:
        """Look after update `step`, unless this life has: what was asked for has to be answered
        after it was asked."""
        if self._panel is None or step in self._made:
            return
        record = self._panel.evaluate(
            self._model,
            ranks=self._ranks,
            device=self._device,
            attempt=self._at.attempt,
            step=step,
            beat=lambda: self._beacon.beat("panel", step),
            version=self.version,
            why=why,
        )
        self._made.add(step)
        self._compare_types()
        if self._at.memory is not None:
            self._at.memory.tell(record)

    def note_type(self, trained_in: torch.dtype) -> None:
        """The type of the logits that training computes: a look should compute the same."""
        if trained_in != self._trained_in:
            self._trained_in = trained_in
            self._compare_types()

    def _compare_types(self) -> None:
        looked_in = self._panel.looked_in if self._panel is not None else None
        differs = None not in (looked_in, self._trained_in) and looked_in != self._trained_in
        if differs and not self._has_said and self._ranks.rank == 0:
            self._has_said = True
            self._say(
                f"the panel is looked at in {looked_in}, training computes {self._trained_in}: its "
                "perplexity is not that of the model as it trains. Write Panel(fixed, losses=f), "
                "where f(model, batch) computes as your loop does, autocast included"
            )

    def forget_after(self, step: int) -> None:
        """After a rollback: what was seen later is of a branch that was given up."""
        self._before = {at for at in self._before if at <= step}
        self._made = {at for at in self._made if at <= step}

    def _drawn(self, panel: Panel, before: PanelDrawn | None) -> PanelDrawn:
        fixed = panel.fixed
        return PanelDrawn(
            attempt=self._at.attempt,
            step=self._at.step,
            digest=fixed.digest,
            version=before.version + 1 if before else 1,
            replaces=before.digest if before else None,
            lengths=fixed.lengths,
            seed=fixed.seed,
            window=fixed.window,
            tokenizer=fixed.tokenizer,
            path=f"{FOLDER}/{fixed.digest}.jsonl",
            origin=fixed.origin,
            notes=(*fixed.notes, *_gaps(panel), *_blindness(panel, self._overlap)),
            why=(panel.rebase or "") if before else "",
            unigram=fixed.unigram,
        )

    def _write(self, panel: Panel) -> None:
        path = self._home / FOLDER / f"{panel.digest}.jsonl"
        if not path.exists():
            panel.used_in(self._home.name).write(path)


def _gaps(panel: Panel) -> list[str]:
    lengths = zip(panel.fixed.domains, panel.fixed.lengths, strict=True)
    return [
        f"The panel has no sequence of {name}, so its perplexity is not followed."
        for name, mine in lengths
        if not mine
    ]


def _blindness(panel: Panel, overlap: Overlap | None) -> list[str]:
    if overlap is None:
        return ["Training text is not read (read_texts), so text of the panel is not found in it."]
    common, size = len(overlap.common), len(panel.fixed.sequences)
    blind = len(overlap.blind) - common
    found = []
    if blind:
        found.append(
            f"{blind} of {size} sequences have no text, or too little of their own, to be found in "
            "training text."
        )
    if common:
        found.append(
            f"{common} of {size} sequences stand in several of the first training texts already, "
            "as boilerplate does. They are not called leaked, and tell less than the others."
        )
    return found
