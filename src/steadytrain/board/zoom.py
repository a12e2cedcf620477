"""Analyses as one HTML page with curves that zoom; opens without a network.

Each curve is drawn from the minimum and maximum of what a pixel covers. A long series is thinned in
the same way before it is written, and kept whole around each trouble.

Drawn by uPlot 1.6.32 (MIT), which lies in `vendor/`.
"""

import base64
import html
import json
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytrain.analysis import Analysis, Trouble
from steadytrain.board.page import PAGE
from steadytrain.board.series import decimate
from steadytrain.errors import SteadytrainError

POINTS = 600_000
"""Points in a page, over all its series: some ten megabytes."""

AROUND = 200
"""Rows around a trouble that are kept whole."""

COLOURS = ("#2f6fde", "#d2691e", "#2e8b57", "#a23bb5", "#c0392b", "#0f8b8d", "#8a6d3b", "#5b5bd6")
LOGARITHMIC = frozenset({"grad_norm", "update"})

Floats = NDArray[np.float64]


def write_zoom(analyses: Sequence[Analysis], path: Path) -> Path:
    """Write the page.

    Raises:
        SteadytrainError: it cannot be written.
    """
    count = sum(len(one.table.columns) for one in analyses)
    budget = max(4_000, POINTS // max(1, count))
    body = "".join(_section(number, one) for number, one in enumerate(analyses))
    # A name with a closing tag in it must not end the script.
    data = json.dumps([_data(one, budget) for one in analyses], allow_nan=False).replace(
        "<", "\\u003c"
    )
    folder = resources.files("steadytrain.board")
    scripts = [
        f"<style>{_text(folder, 'vendor/uplot.css')}{STYLE}</style>",
        f"<script>{_text(folder, 'vendor/uplot.js')}</script>",
        f"<script>const DATA = {data};</script>",
        f"<script>{_text(folder, 'zoom.js')}</script>",
    ]
    page = PAGE.replace("LANG", "en").replace("TITLE", "steadytrain analyze")
    text = page.replace("BODY", f"{body}{''.join(scripts)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SteadytrainError(
            f"{path} cannot be written ({error.strerror}), so there is no page. "
            "Give --html a file in a folder that you may write."
        ) from error
    return path


STYLE = """
.uplot { background: var(--card); border-radius: 8px; margin: .8rem 0 0; padding: .4rem 0; }
.u-title { font-size: 13px; color: var(--ink); } output { color: var(--soft); font-size: .85rem; }
button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; cursor: pointer; }
"""


def _text(folder: Any, name: str) -> str:
    text: str = folder.joinpath(name).read_text(encoding="utf-8")
    return text


def _section(number: int, one: Analysis) -> str:
    steps = one.table.steps
    verdict = f"{len(one.troubles)} found" if one.troubles else "nothing found"
    remarks = "".join(f"<p class='small'>{html.escape(remark)}</p>" for remark in one.remarks)
    return (
        f"<h1>{html.escape(one.name)}</h1>"
        f"<p class='verdict'>{verdict} in {len(steps):,} rows, steps {steps.min():,} to "
        f"{steps.max():,} ({html.escape(one.format)})</p>{remarks}"
        f"{_table(number, one)}"
        "<p class='small'>Drag to zoom, double-click to see all again.</p>"
        f"<div id='run{number}'></div>"
    )


def _table(number: int, one: Analysis) -> str:
    if not one.troubles:
        return ""
    head = "<tr><th></th><th>step</th><th>what</th><th>value</th><th>expected</th><th>how far</th>"
    head += "<th>rows</th><th>end</th><th>maybe</th><th>look at</th></tr>"
    rows = [_row(number, trouble) for trouble in one.troubles]
    return f"<div class='wide'><table class='numbers'>{head}{''.join(rows)}</table></div>"


def _row(number: int, one: Trouble) -> str:
    why = "; ".join(f"{hint.cause}: {', '.join(hint.evidence_for)}" for hint in one.hints[:2])
    far = f"{one.score:+.1f} &sigma;" if math.isfinite(one.score) else "not finite"
    cells = [
        f"<button data-run='{number}' data-first='{one.first_row}' data-last='{one.last_row}'>"
        "zoom</button>",
        f"{one.onset:,}",
        html.escape(f"{one.kind} in {', '.join(one.signals)}"),
        f"{one.value:.4g}",
        f"{one.expected:.4g}",
        far,
        str(one.rows),
        one.end,
        html.escape(why),
        html.escape(one.look_at),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _data(one: Analysis, budget: int) -> dict[str, Any]:
    rows = np.arange(len(one.table.steps), dtype=np.float64)
    steps = one.table.steps.astype(np.float64)
    corners = _corners(steps)
    return {
        "rows": _packed(rows[corners]),
        "steps": _packed(steps[corners]),
        "troubles": [
            {
                "first": trouble.first_row,
                "last": trouble.last_row,
                "bad": trouble.end != "recovered",
            }
            for trouble in one.troubles
        ],
        "series": [
            _series(name, at, rows, column, one.troubles, budget)
            for at, (name, column) in enumerate(sorted(one.table.columns.items(), key=_place))
            if not name.startswith("tokens:")
        ],
    }


def _place(item: tuple[str, Any]) -> tuple[bool, bool]:
    """The total loss first, then the domains, then the rest, each as it came."""
    return item[0] != "loss", not item[0].startswith("loss:")


def _corners(steps: Floats) -> NDArray[np.intp]:
    """Rows that are enough to say the step of any row near them: a grid, and each jump."""
    ahead = np.diff(steps)
    jumps = np.flatnonzero(ahead != np.median(ahead)) if len(ahead) else ahead.astype(np.int64)
    grid = np.linspace(0, len(steps) - 1, min(len(steps), 20_000)).astype(np.int64)
    return np.unique(np.concatenate([grid, jumps[:20_000]]))


def _series(
    name: str,
    at: int,
    rows: Floats,
    column: np.ma.MaskedArray,
    troubles: Sequence[Trouble],
    budget: int,
) -> dict[str, Any]:
    known = ~np.ma.getmaskarray(column)
    x, y = rows[known], np.asarray(column)[known]
    if len(x) > budget:
        thin, _ = decimate(x, y, buckets=budget // 4)
        whole = np.zeros(len(x), dtype=bool)
        whole[np.searchsorted(x, thin)] = True
        for one in troubles:
            first, last = np.searchsorted(x, [one.first_row - AROUND, one.last_row + AROUND])
            whole[first : min(last, first + budget // 8)] = True
        whole |= ~np.isfinite(y)
        x, y = x[whole], y[whole]
    return {
        "name": name,
        "colour": COLOURS[at % len(COLOURS)],
        "log": name in LOGARITHMIC and bool((y[np.isfinite(y)] > 0).all()),
        "rows": _packed(x),
        "values": _packed(y),
    }


def _packed(values: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()
