"""Blocks of a report as Markdown that reads well in a pager, in a chat and in a browser.

What a block holds is text: nothing in it becomes a link, a picture, markup or a person's mention.
Source: CommonMark 0.31, sections 2.4 and 6; GitHub Flavored Markdown, tables and autolinks.
"""

import re
from collections.abc import Sequence

from steadytrain.board.blocks import (
    Bar,
    Block,
    Cell,
    Facts,
    Heading,
    Item,
    Items,
    Pictures,
    Quote,
    Table,
    Text,
    cell,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&$@])")
_AT_START = re.compile(r"^(\s*)([-+](?=\s|$)|[-=]+$|\d+[.)](?=\s|$))")
_BLANK = re.compile(r"\n{4,}")
_LINK = re.compile(r"(?i)(://|www\.)")

EM_SPACE = "\u2003"
"""Indents the names of a hierarchy."""

BAR_CHARACTERS = 50
"""Of a whole bar; one is 2 %."""

MOST_QUOTED = 1_200
"""Characters of a quoted text; the HTML has all of it."""

_FILLS = {"productive": "#", "repeated": "x", "held": "x"}


def document(blocks: Sequence[Block]) -> str:
    """The whole text."""
    return "\n\n".join(found for block in blocks if (found := _block(block))) + "\n"


def plain(text: str) -> str:
    """Any text as one line of Markdown that says just this.

    >>> plain("<b>*x*</b>")
    '\\\\<b\\\\>\\\\*x\\\\*\\\\</b\\\\>'
    """
    line = EM_SPACE.join(map(shown, text.replace("\n", " ").split(EM_SPACE)))
    line = _SPECIAL.sub(r"\\\1", line)
    line = _LINK.sub(lambda found: "".join(f"\\{c}" if c in ":." else c for c in found[0]), line)
    return _AT_START.sub(lambda found: f"{found[1]}{_hidden(found[2])}", line.strip(" "))


def shown(text: str) -> str:
    """The same text; what cannot be seen, or turns the direction of writing, is spelled out."""
    return "".join(
        char if (char.isprintable() and char != "\ufffd") or char == "\n" else f"\\u{ord(char):04x}"
        for char in text
    )


def _hidden(mark: str) -> str:
    """What would begin a list or a rule, so that it does not."""
    return f"{mark[:-1]}\\{mark[-1]}"


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {plain(block.text)}"
        case Text(kind="verdict"):
            return f"**{plain(block.text)}**"
        case Text(kind="note"):
            return f"> {plain(block.text)}"
        case Text():
            return plain(block.text)
        case Facts():
            return "\n".join(f"- **{plain(name)}**: {plain(value)}" for name, value in block.rows)
        case Table():
            return _table(block)
        case Items():
            return "\n".join(
                line
                for at, one in enumerate(block.items, start=1)
                for line in _item(one, f"{at}." if block.is_ordered else "-", "")
            )
        case Pictures():
            return _table(block.instead) if block.instead is not None else ""
        case Bar():
            return _bar(block)
        case Quote():
            return _quote(block)


def _table(table: Table) -> str:
    head, *rows = table.rows
    dashes = ["---:" if table.has_numbers and at else "---" for at in range(len(head))]
    lines = [[_cell(cell(one)) for one in head], dashes]
    lines += [[_cell(cell(one)) for one in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(one: Cell) -> str:
    text = "; ".join(plain(line) for line in one.text.split("\n") if line)
    return f"**{text}**" if text and one.tone != "plain" else text


def _item(one: Item, mark: str, indent: str) -> list[str]:
    lines = [f"{indent}{mark} {plain(one.text)}"]
    inside = indent + " " * (len(mark) + 1)
    signs = {"good": "+ ", "bad": "\u2212 ", "plain": ""}
    for below in one.more:
        first, *rest = _item(below, "-", inside)
        sign = signs[below.tone]
        lines += [first.replace("- ", f"- {sign}", 1), *rest]
    return lines


def _bar(bar: Bar) -> str:
    filled = "".join(
        _FILLS.get(kind, "-" if kind in ("idle", "stalls") else "o") * round(share * BAR_CHARACTERS)
        for _, kind, share in bar.parts
    )
    return f"`[{filled[:BAR_CHARACTERS]:<{BAR_CHARACTERS}}]`"


def _told_blank(found: re.Match[str]) -> str:
    return f"\n[\\n x {len(found[0])}]\n"


def _quote(quote: Quote) -> str:
    text = _BLANK.sub(_told_blank, shown(quote.text[:MOST_QUOTED]))
    more = len(quote.text) - MOST_QUOTED
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    head = plain(quote.head) + (f" ({plain(quote.source)})" if quote.source else "")
    tail = f"\n\n... +{more:,}" if more > 0 else ""
    return f"{head}\n\n{fence}text\n{text}\n{fence}{tail}"
