"""Blocks of a report as one HTML file that opens without a network."""

from collections.abc import Sequence
from html import escape

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
from steadytrain.board.page import PAGE


def page(title: str, blocks: Sequence[Block], lang: str) -> str:
    """The whole file. Whatever stands in a block, none of it becomes markup."""
    body = "\n".join(_sections(blocks))
    parts = PAGE.split("BODY")
    head = parts[0].replace("LANG", lang).replace("TITLE", escape(title))
    return f"{head}{body}{parts[1]}"


def visible(text: str) -> str:
    """Text from training data as harmless HTML: markup escaped, invisible characters shown."""
    shown = []
    for char in text:
        if char == "\n":
            shown.append("<i>&#x23ce;</i>\n")
        elif char == "\t":
            shown.append("<i>&#x2192;</i>\t")
        elif not char.isprintable() or char == "\ufffd":
            shown.append(f"<i>\\u{ord(char):04x}</i>")
        else:
            shown.append(escape(char))
    return "".join(shown)


def _sections(blocks: Sequence[Block]) -> list[str]:
    """Each in turn; quotes that follow each other stand side by side."""
    found: list[str] = []
    quotes: list[str] = []
    for block in blocks:
        if isinstance(block, Quote):
            quotes.append(_quote(block))
            continue
        if quotes:
            found.append(f'<div class="texts">{"".join(quotes)}</div>')
            quotes = []
        found.append(_block(block))
    if quotes:
        found.append(f'<div class="texts">{"".join(quotes)}</div>')
    return found


def _block(block: Block) -> str:
    match block:
        case Heading():
            anchor = f' id="{escape(block.anchor)}"' if block.anchor else ""
            return f"<h{block.level}{anchor}>{escape(block.text)}</h{block.level}>"
        case Text():
            kind = "" if block.kind == "plain" else f' class="{block.kind}"'
            return f"<p{kind}>{escape(block.text)}</p>"
        case Facts():
            rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in block.rows)
            return f"<dl>{rows}</dl>"
        case Table():
            return _table(block)
        case Items():
            name = "ol" if block.is_ordered else "ul"
            return f"<{name}>{''.join(map(_item, block.items))}</{name}>"
        case Pictures():
            return f'<div class="charts">{"".join(block.pictures)}</div>'
        case Bar():
            return _bar(block)
        case Quote():
            return _quote(block)


def _table(table: Table) -> str:
    head, *rows = table.rows
    heads = "".join(
        f'<th scope="col">{escape(text)}</th>' if (text := cell(one).text) else "<td></td>"
        for one in head
    )
    body = "".join("<tr>" + "".join(_cell(cell(one)) for one in row) + "</tr>" for row in rows)
    kind = ' class="numbers"' if table.has_numbers else ""
    return f'<div class="wide" tabindex="0"><table{kind}><tr>{heads}</tr>{body}</table></div>'


def _cell(one: Cell) -> str:
    text = escape(one.text).replace("\n", "<br>")
    if one.anchor:
        text = f'<a href="#{escape(one.anchor)}">{text}</a>'
    if one.tone != "plain":
        text = f'<b class="{one.tone}">{text}</b>'
    return f"<td>{text}</td>"


def _item(one: Item) -> str:
    more = f"<ul>{''.join(map(_item, one.more))}</ul>" if one.more else ""
    tone = "" if one.tone == "plain" else f' class="{one.tone}"'
    return f"<li{tone}>{escape(one.text)}{more}</li>"


def _bar(bar: Bar) -> str:
    said = ", ".join(f"{words} {share:.1%}" for words, _, share in bar.parts)
    parts = "".join(
        f'<i class="{kind}" style="flex:{share:.6f}" title="{escape(words)} {share:.1%}"></i>'
        for words, kind, share in bar.parts
    )
    keys = "".join(
        f'<span><i class="{kind}"></i>{escape(words)} {share:.1%}</span>'
        for words, kind, share in bar.parts
    )
    return (
        f'<div class="bar" role="img" aria-label="{escape(f"{bar.title}: {said}")}">{parts}</div>'
        f'<p class="keys" aria-hidden="true">{keys}</p>'
    )


def _quote(quote: Quote) -> str:
    source = f"<br><small>{escape(quote.source)}</small>" if quote.source else ""
    return (
        f'<figure class="{quote.tone}"><figcaption>{escape(quote.head)}{source}</figcaption>'
        f'<pre tabindex="0">{visible(quote.text)}</pre></figure>'
    )
