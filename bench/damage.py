"""Ways to break a text, for the measurements of the lint: each the name of its class and a function."""

import base64
import binascii
import quopri
import random
import urllib.parse
from collections.abc import Callable, Mapping

Break = Callable[[str, random.Random, Mapping[str, list[str]]], str | None]


def _misread(out: str, back: str) -> Break:
    def spoil(text: str, _: random.Random, __: Mapping[str, list[str]]) -> str | None:
        found = text.encode(out, "ignore").decode(back, "replace")
        odd = sum(char > "\x7f" for char in text)
        return found if found != text and odd >= 0.02 * len(text) and odd >= 8 else None

    return spoil


def _partly(spoil: Callable[[str, random.Random], str], share: float) -> Break:
    def part(text: str, chance: random.Random, _: Mapping[str, list[str]]) -> str:
        size = int(share * len(text))
        first = chance.randrange(max(1, len(text) - size))
        return text[:first] + spoil(text[first : first + size], chance) + text[first + size :]

    return part


def _random_bytes(text: str, chance: random.Random, *_: object) -> str:
    return chance.randbytes(len(text)).decode("utf-8", "replace")


def _truncated(text: str, chance: random.Random, *_: object) -> str:
    raw, size = text.encode(), chance.choice((31, 62, 100))
    return "".join(
        raw[at : at + size].decode("utf-8", "replace") for at in range(0, len(raw), size)
    )


def _near(text: str, chance: random.Random, *_: object) -> str:
    line = text.strip()[: chance.choice((60, 150, 300))].replace("\n", " ")
    return "\n".join(f"{line} {number}" for number in range(2 + len(text) // max(20, len(line))))


def _long_period(text: str, chance: random.Random, *_: object) -> str:
    size = max(100, len(text) // chance.choice((4, 6, 10)))
    return text[:size] * (len(text) // size + 1)


def _html(text: str, chance: random.Random, *_: object) -> str:
    words = text.split()[:200]
    return "<html><body>" + "".join(
        f'<div class="c{at % 7}"><span style="color:#{chance.randrange(4096):03x}">{word[:20]}</span></div>\n'
        for at, word in enumerate(words)
    )


def _from(name: str) -> Break:
    def take(_: str, chance: random.Random, texts: Mapping[str, list[str]]) -> str:
        return chance.choice(texts[name])

    return take


def _noise(text: str, chance: random.Random) -> str:
    return "".join(chr(chance.randrange(0x4E00, 0x9FA0)) for _ in text)


BREAKS: Mapping[str, tuple[tuple[str, Break], ...]] = {
    "garbled": (
        ("utf8 as gbk", _misread("utf-8", "gb18030")),
        ("utf8 as cp1252", _misread("utf-8", "cp1252")),
        ("utf8 as latin-1", _misread("utf-8", "latin-1")),
        ("utf8 as big5", _misread("utf-8", "big5")),
        ("utf8 as shift-jis", _misread("utf-8", "shift_jis")),
        ("utf8 as euc-kr", _misread("utf-8", "euc_kr")),
        ("utf8 as cp1251", _misread("utf-8", "cp1251")),
        ("gbk as latin-1", _misread("gb18030", "latin-1")),
        ("gbk as utf8", _misread("gb18030", "utf-8")),
        ("gbk as big5", _misread("gbk", "big5")),
        ("kun jin kao", lambda text, *_: text.encode("gbk", "ignore").decode("utf-8", "replace")
         .encode().decode("gbk", "replace") if not text.isascii() else None),
        ("random bytes", _random_bytes),
        ("random bytes as latin-1", lambda text, chance, _: chance.randbytes(len(text)).decode("latin-1")),
        ("random ideographs", lambda text, chance, _: _noise(text, chance)),
        ("cut characters", lambda text, chance, _: _truncated(text, chance) if sum(
            char > "\x7f" for char in text) > 0.3 * len(text) else None),
        ("a third of it", _partly(_random_bytes, 0.33)),
    ),
    "blank": (
        ("newlines", lambda text, *_: "\n" * len(text)),
        ("white space", lambda text, chance, _: "".join(chance.choice(" \t\n \u3000") for _ in text)),
        ("a few words", lambda text, *_: "\n" * len(text) + text[:8]),
        ("half of it", _partly(lambda part, _: "\n" * len(part), 0.5)),
    ),
    "encoded": (
        ("base64", lambda text, *_: base64.encodebytes(text.encode()).decode()),
        ("base64 in one line", lambda text, *_: base64.b64encode(text.encode()).decode()),
        ("hex", lambda text, *_: text.encode().hex()),
        ("hex dump", lambda text, *_: "\n".join(
            text.encode()[at : at + 16].hex(" ") for at in range(0, len(text.encode()), 16))),
        ("uuencode", lambda text, *_: "".join(
            binascii.b2a_uu(text.encode()[at : at + 45]).decode() for at in range(0, len(text.encode()), 45))),
        ("quoted-printable", lambda text, *_: quopri.encodestring(text.encode()).decode()
         if sum(char > "\x7f" for char in text) > 0.5 * len(text) else None),
        ("percent", lambda text, *_: urllib.parse.quote(text)
         if sum(char > "\x7f" for char in text) > 0.5 * len(text) else None),
        ("escapes", lambda text, *_: text.encode("ascii", "backslashreplace").decode()
         if sum(char > "\x7f" for char in text) > 0.5 * len(text) else None),
    ),
    "repetition": (
        ("a phrase", lambda text, *_: text.strip()[:20] * (1 + len(text) // 20)),
        ("a line", lambda text, *_: (text.strip()[:80].replace("\n", " ") + "\n") * (1 + len(text) // 80)),
        ("with a counter", _near),
        ("a long period", _long_period),
        ("one character", lambda text, chance, _: chance.choice("a0\u554a.") * len(text)),
    ),
    "markup": (("a page of tags", _html),),
    "wrong_domain": (("zh", _from("zh")), ("en", _from("en")), ("code", _from("code"))),
}  # fmt: skip
