"""What persons said to a run, what waits for them, and which words were refused."""

from collections.abc import Sequence
from pathlib import Path

from steadytrain import control
from steadytrain.board.blocks import Block, Heading, Item, Items
from steadytrain.board.page import WORDS
from steadytrain.events import Event
from steadytrain.sayings import say
from steadytrain.standing import Standing
from steadytrain.wording import sentence


def persons_section(home: Path, events: Sequence[Event], lang: str) -> list[Block]:
    """A heading and a list; nothing where nobody spoke or was asked."""
    words = WORDS[lang]
    standing = Standing()
    for event in events:
        standing.note(event)
    waiting = [*standing.proposals.values(), *standing.asks()]
    items = [Item(sentence(one, lang=lang) or "") for one in standing.said.values()]
    items += [
        Item(f"{words['waits']}: {sentence(one, lang=lang) or ''}")
        for one in ([] if standing.has_ended else waiting)
    ]
    items += [
        Item(f"{words['turned_down']}: {name}: {say(why, lang)}")
        for name, why in control.refusals(home)
    ]
    return [Heading(2, words["persons"]), Items(items)] if items else []
