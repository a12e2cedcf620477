"""Ways to break a text, for the measurements of the lint: each the name of its class and a function."""

import base64
import binascii
import json
import quopri
import random
import re
import sys
import sysconfig
import urllib.parse
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

_BINARIES = [
    Path(sys.executable).resolve(),
    *sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.so"))[:20],
    *sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.cpython-311.pyc"))[:20],
]

Break = Callable[[str, random.Random, Mapping[str, list[str]]], str | None]


def _misread(out: str, back: str) -> Break:
    def spoil(text: str, _: random.Random, __: Mapping[str, list[str]]) -> str | None:
        found = text.encode(out, "ignore").decode(back, "replace")
        odd = sum(char > "\x7f" for char in text)
        return found if found != text and odd >= 0.02 * len(text) and odd >= 8 else None

    return spoil


def _partly(spoil: Callable[[str, random.Random], str], share: float) -> Break:
    def part(text: str, chance: random.Random, _: Mapping[str, list[str]]) -> str | None:
        size = int(share * len(text))
        first = chance.randrange(max(1, len(text) - size))
        found = spoil(text[first : first + size], chance)
        same = sum(a == b for a, b in zip(found, text[first : first + size], strict=False))
        if same > 0.5 * size:
            return None
        return text[:first] + found + text[first + size :]

    return part


def _twice(text: str, *_: object) -> str | None:
    once = _misread("utf-8", "cp1252")(text, random.Random(0), {})
    return None if once is None else _misread("utf-8", "cp1252")(once, random.Random(0), {})


def _curly(codec: str) -> Break:
    """English with the quotation marks of a typesetter, read wrongly."""

    def spoil(text: str, _: random.Random, __: Mapping[str, list[str]]) -> str | None:
        typeset = re.sub(r"(?<=[a-z])'(?=[a-z])", "\u2019", text)
        typeset = re.sub(r'"([^"\n]{1,200})"', "\u201c\\1\u201d", typeset)
        changed = sum(a != b for a, b in zip(text, typeset, strict=False))
        if changed < 4 or sum(char > "\x7f" for char in text) > 8:
            return None
        return typeset.encode().decode(codec, "replace")

    return spoil


def _binary(decode: Callable[[bytes], str]) -> Break:
    """The bytes of programs, archives and pictures."""

    def spoil(text: str, chance: random.Random, _: Mapping[str, list[str]]) -> str | None:
        path = chance.choice(_BINARIES)
        raw = (
            path.read_bytes()[:200_000]
            if chance.random() < 0.5
            else zlib.compress(text.encode() * 20 + path.read_bytes()[:40_000])
        )
        first = chance.randrange(max(1, len(raw) - 6000))
        piece = raw[first : first + len(text)]
        return decode(piece) if sum(byte > 127 for byte in piece) > 0.2 * len(piece) else None

    return spoil


def _question_marks(text: str, *_: object) -> str | None:
    return text.encode("ascii", "replace").decode() if _is_mostly_foreign(text) else None


def _sparsely_cut(text: str, chance: random.Random, *_: object) -> str | None:
    if not _is_mostly_foreign(text):
        return None
    raw, size = text.encode(), chance.choice((250, 500, 1000))
    found = "".join(
        raw[at : at + size].decode("utf-8", "replace") for at in range(0, len(raw), size)
    )
    return found if len(re.findall("\ufffd+", found)) >= 4 else None


def _is_mostly_foreign(text: str) -> bool:
    return sum(char > "\x7f" for char in text) > 0.4 * len(text)


def _of_another(script: str) -> Break:
    """A text of the undeclared ones, in a script of its own."""

    def take(_: str, chance: random.Random, texts: Mapping[str, list[str]]) -> str | None:
        some = [
            text for text in texts.get("other", ()) if len(re.findall(script, text)) > len(text) / 4
        ]
        return chance.choice(some) if some else None

    return take


def _then(script: str, out: str, back: str) -> Break:
    take, misread = _of_another(script), _misread(out, back)

    def spoil(text: str, chance: random.Random, texts: Mapping[str, list[str]]) -> str | None:
        found = take(text, chance, texts)
        return None if found is None else misread(found, chance, texts)

    return spoil


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


def _edited(text: str, chance: random.Random, *_: object) -> str:
    """A paragraph again and again, one character in sixty changed."""
    part = text.strip()[: chance.choice((80, 240, 700))]
    copies = []
    for _again in range(max(5, len(text) // len(part))):
        copies.append(
            "".join(chance.choice("aeiou1") if chance.random() < 1 / 60 else char for char in part)
        )
    return "\n".join(copies)


def _period(size: int) -> Break:
    def spoil(text: str, _: random.Random, __: Mapping[str, list[str]]) -> str | None:
        return (text[:size] * 9)[: max(3 * size, 1200)] if len(text) >= size else None

    return spoil


def _page(patterns: tuple[str, ...]) -> Break:
    """A part of a real page or file, from this machine."""

    def spoil(_: str, chance: random.Random, __: Mapping[str, list[str]]) -> str | None:
        text = chance.choice(_found(patterns))
        first = chance.randrange(max(1, len(text) - 4000))
        part = text[first : first + 4000]
        tags = sum(map(len, re.findall(r"<[^<>]{1,300}>", part)))
        return part if tags >= 0.45 * len(part) else None

    return spoil


@cache
def _found(patterns: tuple[str, ...]) -> list[str]:
    paths = [
        path
        for pattern in patterns
        for path in sorted(Path("/usr").glob(pattern))[:60]
        if path.is_file()
    ]
    return [path.read_text("utf-8", "ignore")[:60_000] for path in paths]


def _in_json(text: str, chance: random.Random, *_: object) -> str:
    return json.dumps(
        {"id": chance.randrange(999), "body": base64.b64encode(text.encode()).decode()}
    )


def _prefixed(text: str, *_: object) -> str:
    lines = base64.encodebytes(text.encode()).decode().splitlines()
    return "\n".join("> " + line for line in lines)


def _xxd(text: str, *_: object) -> str:
    raw = text.encode()
    return "\n".join(
        f"{at:08x}: {raw[at : at + 16].hex(' ', 2):<40} "
        + "".join(chr(byte) if 32 <= byte < 127 else "." for byte in raw[at : at + 16])
        for at in range(0, len(raw), 16)
    )


def _from(name: str) -> Break:
    def take(_: str, chance: random.Random, texts: Mapping[str, list[str]]) -> str | None:
        return chance.choice(texts[name]) if texts.get(name) else None

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
        ("twice utf8 as cp1252", _twice),
        ("utf8 as mac-roman", _misread("utf-8", "mac_roman")),
        ("utf8 as koi8-r", _misread("utf-8", "koi8_r")),
        ("utf8 as cp437", _misread("utf-8", "cp437")),
        ("curly quotes as cp1252", _curly("cp1252")),
        ("curly quotes as latin-1", _curly("latin-1")),
        ("curly quotes as gbk", _curly("gb18030")),
        ("gbk as cp1252", _misread("gb18030", "cp1252")),
        ("gbk as shift-jis", _misread("gb18030", "shift_jis")),
        ("big5 as gbk", _misread("big5", "gb18030")),
        ("big5 as latin-1", _misread("big5", "latin-1")),
        ("utf-16 as latin-1", lambda text, *_: text.encode("utf-16").decode("latin-1")),
        ("utf-16, bytes swapped", lambda text, *_: text.encode("utf-16-le").decode("utf-16-be", "replace")),
        ("utf8 as utf-16", lambda text, *_: text.encode().decode("utf-16-le", "replace")),
        ("Japanese, utf8 as gbk", _then("[\u3040-\u30ff]", "utf-8", "gb18030")),
        ("Japanese, sjis as cp1252", _then("[\u3040-\u30ff]", "shift_jis", "cp1252")),
        ("Japanese, sjis as gbk", _then("[\u3040-\u30ff]", "shift_jis", "gb18030")),
        ("Korean, euc-kr as latin-1", _then("[\uac00-\ud7a3]", "euc_kr", "latin-1")),
        ("Korean, utf8 as cp1252", _then("[\uac00-\ud7a3]", "utf-8", "cp1252")),
        ("Korean, euc-kr as gbk", _then("[\uac00-\ud7a3]", "euc_kr", "gb18030")),
        ("Russian, utf8 as cp1251", _then("[\u0400-\u04ff]", "utf-8", "cp1251")),
        ("Russian, utf8 as cp1252", _then("[\u0400-\u04ff]", "utf-8", "cp1252")),
        ("Russian, cp1251 as latin-1", _then("[\u0400-\u04ff]", "cp1251", "latin-1")),
        ("Russian, koi8 as cp1251", _then("[\u0400-\u04ff]", "koi8_r", "cp1251")),
        ("binary as latin-1", _binary(lambda raw: raw.decode("latin-1"))),
        ("binary as utf8", _binary(lambda raw: raw.decode("utf-8", "replace"))),
        ("binary, errors ignored", _binary(lambda raw: raw.decode("utf-8", "ignore"))),
        ("question marks", _question_marks),
        ("cut now and then", _sparsely_cut),
        ("30 % as gbk", _partly(lambda part, _: part.encode().decode("gb18030", "replace"), 0.3)),
        ("30 % as cp1252", _partly(lambda part, _: part.encode().decode("cp1252", "replace"), 0.3)),
        ("15 % ideographs", _partly(_noise, 0.15)),
    ),
    "blank": (
        ("newlines", lambda text, *_: "\n" * len(text)),
        ("white space", lambda text, chance, _: "".join(chance.choice(" \t\n \u3000") for _ in text)),
        ("a few words", lambda text, *_: "\n" * len(text) + text[:8]),
        ("half of it", _partly(lambda part, _: "\n" * len(part), 0.5)),
        ("30 % of it, newlines", _partly(lambda part, _: "\n" * len(part), 0.3)),
        ("30 % of it, spaces", _partly(lambda part, _: " " * len(part), 0.3)),
        ("invisible", lambda text, *_: "\u200b\ufeff" * (len(text) // 2)),
        ("a number now and then", lambda text, *_: ("\n" * 99 + "1") * (len(text) // 100 + 3)),
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
        ("base64 in JSON", _in_json),
        ("base64, quoted", _prefixed),
        ("base64 for urls", lambda text, *_: base64.urlsafe_b64encode(text.encode()).decode()),
        ("base32", lambda text, *_: base64.b32encode(text.encode()).decode()),
        ("base85", lambda text, *_: base64.b85encode(text.encode()).decode()),
        ("hex dump with text", _xxd),
        ("hex, 0x", lambda text, *_: ", ".join(f"0x{byte:02x}" for byte in text.encode())),
        ("octal escapes", lambda text, *_: "".join(
            f"\\{byte:03o}" if byte > 126 else chr(byte) for byte in text.encode())
         if _is_mostly_foreign(text) else None),
        ("byte escapes", lambda text, *_: str(text.encode()) if _is_mostly_foreign(text) else None),
        ("escapes in JSON", lambda text, *_: json.dumps({"text": text}) if _is_mostly_foreign(text) else None),
        ("references", lambda text, *_: text.encode("ascii", "xmlcharrefreplace").decode()
         if _is_mostly_foreign(text) else None),
        ("60 % base64", _partly(lambda part, _: base64.encodebytes(part.encode()).decode(), 0.6)),
        ("escapes", lambda text, *_: text.encode("ascii", "backslashreplace").decode()
         if sum(char > "\x7f" for char in text) > 0.5 * len(text) else None),
    ),
    "repetition": (
        ("a phrase", lambda text, *_: text.strip()[:20] * (1 + len(text) // 20)),
        ("a line", lambda text, *_: (text.strip()[:80].replace("\n", " ") + "\n") * (1 + len(text) // 80)),
        ("with a counter", _near),
        ("a long period", _long_period),
        ("edited copies", _edited),
        ("a period of 7", lambda text, *_: text.strip()[:7] * (1 + len(text) // 7)),
        ("a period of 90", _period(90)),
        ("a period of 500", _period(500)),
        ("a period of 1300", _period(1300)),
        ("a period of 2000", _period(2000)),
        ("half of it", _partly(lambda part, _: ((part[:50].replace("\n", " ") + "\n") * (1 + len(part) // 51))[:len(part)], 0.5)),
        ("one character", lambda text, chance, _: chance.choice("a0\u554a.") * len(text)),
    ),
    "markup": (
        ("a page of tags", _html),
        ("pages", _page(("share/doc/nodejs/api/*.html", "share/javadoc/**/*.html", "share/**/*.html"))),
        ("XML", _page(("share/mime/**/*.xml", "share/**/*.svg", "share/xml/**/*.xml"))),
    ),
    "wrong_domain": (("zh", _from("zh")), ("en", _from("en")), ("code", _from("code")),
        ("traditional", _from("zh-hant")),
        ("Japanese", _of_another("[\u3040-\u30ff]")),
        ("Korean", _of_another("[\uac00-\ud7a3]")),
        ("Russian", _of_another("[\u0400-\u04ff]")),
    ),
}  # fmt: skip
