"""Does a text belong to its domain? Markup where prose should be, another script, another sort."""

import re
from collections.abc import Mapping

from steadytrain.text.characters import (
    CYRILLIC,
    HAN,
    HANGUL,
    KANA,
    OTHER_LETTER,
    RARE_HAN,
    count,
    kinds_of,
    points_of,
)
from steadytrain.text.profile import Profile, shipped, surprises
from steadytrain.text.verdict import Verdict, corrupt

TAG_SHARE = 0.4
FEW_TAGS = 3
PROSE = 200
"""Characters of prose beside badges and pictures."""

FOREIGN_SHARE = 0.4
"""Share of the visible characters. A page of English with Chinese examples has less."""

WINDOW_HAN = 12
LEAD = 0.6
ENOUGH_BYTES = 400
"""A lead of 0.6 bits a gram over 400 bytes: 1 % of held-out clean texts reach it (docs/lint.md)."""

CODE_SYMBOLS = 0.08
"""Share of brackets and operators above which a text is no English among code, whatever its grams:
half of the clean code has 0.087, a tenth of the clean English."""

PROSE_WORDS = 0.2
PROSE_SYMBOLS = 0.03
PROSE_LEAD = 0.5
"""Share of function words, and of symbols, with which half of LEAD is enough for English among
code. With this and CODE_SYMBOLS 0.3 % of the clean code is called wrong, without them 0.4 %, while
English found rises from 0.58 to 0.67 (tuning half; much of that English is full of code)."""

FEW_HAN = 0.02
SAMPLE = 4000
"""Characters that are enough to tell a domain."""

_HAN = re.compile("[\u4e00-\u9fff]{4}")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_FUNCTION_WORDS = re.compile(
    r"\b(?:the|of|and|to|is|in|that|for|it|be|are|this|with|as|by|on|or|an|will|can|you|from|at|not"
    r"|which|was|have|has|but|when)\b"
)
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,300}>|<[!?][^<>]{0,300}>", re.S)
_IMAGE = re.compile(r"<(?:img|a|p|br|div|picture|source)\b[^<>]*>|</(?:a|p|div|picture)>", re.I)


def markup(text: str, top: str | None, limit: float = TAG_SHARE) -> Verdict | None:
    """Tags where prose should be."""
    if top == "code" or text.count("<") < FEW_TAGS:
        return None
    spans = tuple(match.span() for match in _TAG.finditer(text))
    covered = sum(stop - first for first, stop in spans)
    if covered < limit * len(text) or len(spans) < FEW_TAGS:
        return None
    if top is None and len(text) < 400:
        return None
    images = sum(bool(_IMAGE.fullmatch(text[first:stop])) for first, stop in spans)
    if 2 * images > len(spans) and len(text) - covered >= PROSE:
        return None  # badges and pictures at the head of a page of Markdown
    return corrupt("markup", 0.85, spans, f"{covered / len(text):.0%} of the text is tags")


def tag_share(text: str, top: str | None) -> float:
    """Share of the characters that are tags, as `markup` compares it; 0 for code."""
    if top == "code" or text.count("<") < FEW_TAGS:
        return 0.0
    return sum(match.end() - match.start() for match in _TAG.finditer(text)) / len(text)


def foreign_share(text: str, top: str | None) -> float:
    """Share of the visible characters in another script, as `wrong_script` compares it."""
    if top not in ("en", "code", "zh") or text.isascii():
        return 0.0
    han, foreign, visible = _scripts(text)
    return foreign / visible if top == "zh" else (han + foreign) / visible


def wrong_script(text: str, top: str | None, limit: float = FOREIGN_SHARE) -> Verdict | None:
    """Another script than the domain's, told by kinds of characters."""
    if top not in ("en", "code", "zh"):
        return None
    if text.isascii():
        if top != "zh" or len(text) < 1000:
            return None
        return corrupt(
            "wrong_domain", 0.8, ((0, len(text)),),
            f"no Chinese character in {len(text)} characters",
        )  # fmt: skip
    han, foreign, visible = _scripts(text)
    if top == "zh":
        if foreign >= max(WINDOW_HAN, limit * visible, han):
            return _wrong(text, f"{foreign / visible:.0%} of a text of zh is of another script")
        letters = sum(map(str.isalpha, text[:4000])) if han == 0 else 0
        if han == 0 and len(text) >= 1000 and letters > 0.5 * min(4000, visible):
            return _wrong(text, f"no Chinese character in {len(text)} characters", 0.8)
        return None
    if han + foreign >= max(WINDOW_HAN, limit * visible):
        what = "Chinese characters" if han >= foreign else "of another script"
        return _wrong(text, f"{(han + foreign) / visible:.0%} of a text of {top} is {what}")
    return None


def wrong_script_together(text: str, top: str) -> Verdict | None:
    """The same for a dozen short texts: one of them may well have no Chinese."""
    if top != "zh" or len(text) < ENOUGH_BYTES:
        return wrong_script(text, top)
    han, _, visible = _scripts(text)
    if han >= FEW_HAN * visible:
        return wrong_script(text, top)
    return _wrong(text, f"{han / visible:.0%} of the texts of zh together is Chinese characters")


def unlike(
    text: str,
    domain: str | None,
    profiles: Mapping[str, Profile] | None,
    *,
    lead: float = LEAD,
) -> Verdict | None:
    """Another sort of text, told by its grams: code among prose, prose among code."""
    found = lead_of(text, domain, profiles)
    if found is None or found[1] < PROSE_LEAD * lead:
        return None
    if found[0] == "en" and (domain or "").split("/")[0] == "code":
        if not (_is_prose(text) if found[1] < lead else _symbols(text) <= CODE_SYMBOLS):
            return None
    elif found[1] < lead:
        return None
    return _wrong(text, f"it sounds like {found[0]}, by {found[1]:.2f} bits a gram", 0.7)


def lead_of(
    text: str, domain: str | None, profiles: Mapping[str, Profile] | None
) -> tuple[str, float] | None:
    """The domain that a text sounds like more than like its own, and by how many bits a gram."""
    if domain is None or len(text) < ENOUGH_BYTES // 4:
        return None
    if len(text) < ENOUGH_BYTES and len(text.encode("utf-8", "replace")) < ENOUGH_BYTES:
        return None
    known: Mapping[str, Profile] = shipped() if profiles is None else profiles
    own = domain if domain in known else domain.split("/")[0]
    if own not in known or len(known) < 2:
        return None
    costs = surprises(text[:SAMPLE], known)
    name = min(costs, key=lambda one: costs[one])
    if name.split("/")[0] == own.split("/")[0]:
        return None
    if name == "zh" and profiles is None and not _HAN.search(text[:SAMPLE]):
        return None  # maths and other symbols: they sound like nothing that was learned
    return name, costs[own] - costs[name]


def _is_prose(text: str) -> bool:
    words = len(_WORDS.findall(text[:SAMPLE]))
    if words < 40 or _symbols(text) > PROSE_SYMBOLS:
        return False
    return len(_FUNCTION_WORDS.findall(text[:SAMPLE])) >= PROSE_WORDS * words


def _symbols(text: str) -> float:
    sample = text[:SAMPLE]
    return sum(map(sample.count, "{}()[];=<>_&|+*/\\$#")) / len(sample)


def _scripts(text: str) -> tuple[int, int, int]:
    """Ideographs, letters of scripts that are neither Latin nor Chinese, visible characters."""
    numbers = count(kinds_of(points_of(text)))
    han = int(numbers[HAN] + numbers[RARE_HAN])
    foreign = int(numbers[KANA] + numbers[HANGUL] + numbers[CYRILLIC] + numbers[OTHER_LETTER])
    return han, foreign, max(1, sum(map(len, text.split())))


def _wrong(text: str, evidence: str, confidence: float = 0.9) -> Verdict:
    return corrupt("wrong_domain", confidence, ((0, len(text)),), evidence)
