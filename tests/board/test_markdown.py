"""Text from anywhere stays text in Markdown: checked by a reader of Markdown where there is one."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from steadytrain.board.blocks import Cell, Heading, Item, Items, Quote, Table, Text
from steadytrain.board.markdown import document, plain

HOSTILE = (
    "<script>alert(1)</script>", "![x](http://evil/x.png)", "[x](javascript:alert(1))",
    "https://evil.example/?a", "www.evil.example", "a | b | c", "`code`", "``` fence", "# heading",
    "- item", "1. item", "> quote", "***", "---", "===", "~~~", "~~gone~~", "&lt;b&gt;", "$x^2$",
    "@everyone", "a\nb", "a\r\nb", "\u202eright to left", "\x1b[2J", "*a*_b_", "\\", "\\`x`", "<!--",
    "    indented", "\t tab", "| --- |", "2) item", "+ item", "[1]: http://evil", "",
)  # fmt: skip


def rendered(text):
    reader = pytest.importorskip("markdown_it", reason="pip install markdown-it-py").MarkdownIt
    return reader("commonmark").enable(["table", "strikethrough"]).render(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_markup(text):
    page = rendered(
        document([
            Heading(2, text), Text(text), Items([Item(text, more=[Item(text)])]),
            Table([["head"], [text], [Cell(text, "good")]]), Quote(text, text, text),
        ])
    )  # fmt: skip
    tags = set(re.findall(r"<(/?[a-z0-9]+)", page))
    ours = {"h2", "p", "ol", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "strong", "pre", "code"}  # fmt: skip
    assert {tag.strip("/") for tag in tags} <= ours
    assert page.count("<h2>") == 1
    assert page.count("<table>") == 1
    assert page.count("<td>") == 2
    assert page.count("<li>") == 2
    assert page.count("<pre>") == 1


@settings(max_examples=150, deadline=None)
@given(some.text(max_size=60))
def test_any_text_is_one_line_without_tags_or_links(text):
    line = plain(text)
    assert "\n" not in line
    page = rendered(f"x {line}")
    assert not re.search(r"<(?!/?p>)", page)
    assert "href" not in page


def test_what_cannot_be_seen_is_spelled_out():
    assert plain("a\u202eb\x1b") == "a\\\\u202eb\\\\u001b"


def test_a_fence_is_longer_than_any_in_the_text():
    assert document([Quote("q", "a ```` b")]).count("`````") == 2


def test_numbers_keep_their_points():
    assert plain("1.5 %") == "1.5 %"
    assert plain("-0.5") == "-0.5"
