"""What persons said to a run, what waits for them, and which words were refused."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from steadytrain import control
from steadytrain.board.page import WORDS
from steadytrain.events import Event
from steadytrain.sayings import say
from steadytrain.standing import Standing
from steadytrain.wording import sentence


def persons_section(home: Path, events: Sequence[Event], lang: str) -> str:
    """A heading and a list; nothing where nobody spoke or was asked."""
    words = WORDS[lang]
    standing = Standing()
    for event in events:
        standing.note(event)
    waiting = [*standing.proposals.values(), *standing.asks()]
    rows = [f"<li>{escape(sentence(one, lang=lang) or '')}</li>" for one in standing.said.values()]
    rows += [
        f"<li class='bad'>{escape(words['waits'])}: {escape(sentence(one, lang=lang) or '')}</li>"
        for one in ([] if standing.has_ended else waiting)
    ]
    rows += [
        f"<li>{escape(words['turned_down'])}: {escape(name)}: {escape(say(why, lang))}</li>"
        for name, why in control.refusals(home)
    ]
    return f"<h2>{words['persons']}</h2><ol>{''.join(rows)}</ol>" if rows else ""
