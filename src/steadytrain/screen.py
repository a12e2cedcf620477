"""`steadytrain watch RUN`: a run live in a terminal, over ssh if need be; redrawn from its journal.

It only reads, so it may be closed, stopped or killed at any time, and any number may look on.
"""

import math
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from steadytrain import status
from steadytrain.news import Noted, Step
from steadytrain.vitals import Vitals
from steadytrain.wording import sentence

LINES = 12
"""The newest sentences that are shown."""

POINTS = 60
"""Of a line of losses, which shows the last looks and not the whole run."""

_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_COLOURS = {
    "running": "green", "ended": "green", "starting": "cyan", "silent": "bold red",
    "down": "bold red", "gave up": "bold red", "no run": "yellow",
}  # fmt: skip


class Screen:
    """What is on the screen, and what it remembers between two drawings."""

    def __init__(self, home: Path, *, lang: str = "en") -> None:
        self.vitals = Vitals(home=Path(home))
        self._lang = lang
        self._said: deque[Text] = deque(maxlen=LINES)
        self._losses: dict[str, deque[float]] = {}

    def refresh(self) -> None:
        """Read what is new."""
        fresh = self.vitals.refresh()
        for step in [item for item in fresh if isinstance(item, Step)][-POINTS:]:
            self._draw_on(step)
        for item in fresh:
            if isinstance(item, Noted):
                self._say(item)

    def draw(self) -> RenderableType:
        """The screen."""
        began = self.vitals.standing.began
        state = self.vitals.state
        name = began.run if began is not None else str(self.vitals.home)
        title = Text.assemble(
            (name, "bold"), "  ", (status.headline(self.vitals, self._lang), _COLOURS[state])
        )
        parts: list[RenderableType] = [title]
        if began is not None and began.steps:
            step = min(self.vitals.standing.step, began.steps)
            bar = Table.grid(expand=True)  # alone it would end without a new line
            bar.add_row(ProgressBar(total=began.steps, completed=step))
            parts.append(bar)
        parts.append(self._facts())
        concerns = status.concerns(self.vitals, self._lang)
        style = "bold red" if status.needs_somebody(self.vitals) else ""
        parts += [Text(line, style=style) for line in concerns]
        parts.append(Text(""))
        parts += list(self._said)
        return Group(*parts)

    def _facts(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, text in status.facts(self.vitals, self._lang):
            table.add_row(Text(name, style="dim"), Text(text))
        for name, losses in list(self._losses.items())[: status.MOST_SHOWN]:
            table.add_row(Text(name, style="dim"), Text(bars(losses)))
        return table

    def _draw_on(self, step: Step) -> None:
        for name, loss in self.vitals.losses_of(step).items():
            self._losses.setdefault(name, deque(maxlen=POINTS)).append(loss)

    def _say(self, item: Noted) -> None:
        words = sentence(item.event, lang=self._lang)
        if words is not None:
            clock = time.strftime("%H:%M:%S", time.localtime(item.at))
            printable = "".join(one if one.isprintable() else "?" for one in words)
            line = Text.assemble((clock, "dim"), f" {printable}", no_wrap=True, overflow="ellipsis")
            self._said.append(line)


def bars(values: Iterable[float]) -> str:
    """A line of bars from the least to the largest; what is not finite stands out.

    >>> bars([1.0, 2.0, float("nan"), 3.0])
    '\u2581\u2585x\u2588'
    """
    values = list(values)
    finite = [one for one in values if math.isfinite(one)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BARS[math.floor((one - low) * scale + 0.5)] if math.isfinite(one) else "x"
        for one in values
    )


def run(home: Path, *, lang: str, every_seconds: float, is_live: bool) -> int:
    """Draw until it is interrupted; once where nobody looks on. Exit status as of `status`."""
    screen = Screen(home, lang=lang)
    screen.refresh()
    console = Console(highlight=False)
    if not console.is_terminal:
        # A log file has no width of its own.
        console = Console(highlight=False, width=150)
    if not is_live or not console.is_terminal:
        console.print(screen.draw())
        return 1 if status.needs_somebody(screen.vitals) else 0
    every = max(0.1, every_seconds)
    # On a screen of its own: what stood in the terminal comes back afterwards.
    with Live(screen.draw(), console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                screen.refresh()
                live.update(screen.draw(), refresh=True)
        except KeyboardInterrupt:
            pass
    console.print(screen.draw())
    return 1 if status.needs_somebody(screen.vitals) else 0
