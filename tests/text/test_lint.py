"""What is wrong with a text: each kind of damage, short windows, and clean text that looks odd."""

import base64
import importlib.resources
import random
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadytrain.text import Profile, lint
from steadytrain.text.profile import nearest
from tests.text.tricky import TRICKY

CHINESE = (
    "训练开始之前，从每个域里随机抽两百条序列，封存起来，永远不拿去训练。以后每次评测都用它们。"
    "固定的好处是成对比较：同一条序列今天和昨天的损失高度相关，相减之后噪声小得多。"
)
TRADITIONAL = (
    "訓練開始之前，從每個領域裡隨機抽取兩百條序列，封存起來，永遠不拿去訓練。評測時都用它們。"
)
ENGLISH = (
    "The loss of a long run falls, and then it does not; somebody wakes at night, looks at a curve, "
    "and guesses. A tool that writes down what it saw before it acts can be trusted to act."
)
CODE = "def total(parts):\n    whole = 0\n    for part in parts:\n        whole += part\n    return whole\n"


def _windows(text, size=128):
    raw = text.encode()
    cut = (raw[at : at + size] for at in range(0, len(raw) - size, size))
    return [piece.decode("utf-8", "ignore") for piece in cut]


def _handbook():
    folder = importlib.resources.files("steadytrain.lab") / "handbook"
    return "\n".join(
        path.read_text("utf-8") for path in folder.iterdir() if path.name.endswith(".md")
    )


def _library(count=60):
    folder = Path(sysconfig.get_paths()["stdlib"])
    return "\n".join(path.read_text("utf-8") for path in sorted(folder.glob("*.py"))[:count])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("\n" * 129, "blank"),
        (" \t\n" * 100, "blank"),
        ("", "blank"),
        (CHINESE.encode().decode("gbk", "replace"), "garbled"),
        (CHINESE.encode().decode("cp1252", "replace"), "garbled"),
        (CHINESE.encode().decode("latin-1"), "garbled"),
        (CHINESE.encode().decode("big5", "replace"), "garbled"),
        ("\u951f\u65a4\u62f7" * 30, "garbled"),
        (random.Random(1).randbytes(400).decode("utf-8", "replace"), "garbled"),
        (random.Random(2).randbytes(129).decode("utf-8", "replace"), "garbled"),
        ("".join(chr(random.Random(3).randrange(1, 20)) for _ in range(200)), "garbled"),
        (base64.b64encode(random.Random(4).randbytes(300)).decode(), "encoded"),
        (random.Random(5).randbytes(200).hex(), "encoded"),
        ("the same few words again. " * 40, "repetition"),
        ("\u91cd\u590d\u7684\u53e5\u5b50\u3002" * 60, "repetition"),
        ("".join(f"<li class='x{w}'><b>{w}</b></li>" for w in ENGLISH.split()), "markup"),
    ],
)
def test_damage_is_named(text, kind):
    found = lint(text)
    assert (found.verdict, found.kind) == ("corrupt", kind)
    assert found.evidence
    assert 0.5 <= found.confidence <= 1.0


@pytest.mark.parametrize("domain", ["en", "code", "code/python"])
def test_chinese_where_english_or_code_should_be_is_the_wrong_domain(domain):
    assert lint(CHINESE, domain=domain).kind == "wrong_domain"


def test_a_comment_in_chinese_does_not_make_code_wrong():
    assert lint(CODE * 2 + "# \u603b\u548c\n", domain="code").verdict == "clean"


def test_utf8_read_as_latin_is_given_back():
    damaged = (
        ("caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00e0 la carte " * 3).encode().decode("latin-1")
    )
    assert lint(damaged).repair.startswith("caf\u00e9")


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        (CHINESE, "zh"),
        (TRADITIONAL, "zh"),
        (ENGLISH, "en"),
        (CODE, "code"),
        ("x = [\n" + "\n\n\n".join(f"    {i} * {i * 7}," for i in range(20)) + "\n]\n", "code"),
        (
            "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\n",
            "en",
        ),
        ("function(a,b){return a.map(c=>c*b).filter(Boolean)};var q=1,r=2;if(q<r){r=q}", "code"),
        (
            r"\begin{equation} \sum_{i=1}^{n} x_i^2 \leq \left( \sum_i x_i \right)^2 \end{equation}",
            "en",
        ),
        (
            "The mark \u951f\u65a4\u62f7 is what a decoder leaves of replaced bytes. " + ENGLISH,
            "en",
        ),
        ("so good \U0001f600\U0001f44d see you tonight \U0001f389 bring cake " * 2, "en"),
        (
            "d\u00e9j\u00e0 vu, na\u00efve caf\u00e9, Stra\u00dfe, \u00e5ngstr\u00f6m, se\u00f1or "
            * 2,
            "en",
        ),
    ],
)
def test_clean_text_that_looks_odd_passes(text, domain):
    assert lint(text, domain=domain).verdict != "corrupt"


@pytest.mark.parametrize(
    ("text", "domain", "most"),
    [(_handbook, "zh", 0.002), (_library, "code", 0.01)],
    ids=["handbook", "library"],
)
def test_windows_of_clean_text_are_hardly_ever_called_corrupt(text, domain, most):
    windows = _windows(text())
    wrong = [one for one in windows if lint(one, domain=domain).verdict == "corrupt"]
    assert len(wrong) <= most * len(windows), wrong[:5]


def test_windows_of_garbled_chinese_are_found():
    windows = [one for one in _windows(_handbook()) if sum(c > "\u4e00" for c in one) >= 12]
    damaged = [
        one.encode().decode("gbk", "replace").encode()[:129].decode("utf-8", "ignore")
        for one in windows
    ]
    found = sum(lint(one, domain="zh").kind == "garbled" for one in damaged)
    assert found >= 0.97 * len(damaged)


def test_profiles_tell_english_from_code():
    profiles = {"en": Profile.learn([ENGLISH] * 3), "code": Profile.learn([_library(5)])}
    assert nearest("for item in items:\n    item.update(value)\n", profiles)[0] == "code"
    assert nearest("somebody looks at a long curve and guesses then", profiles)[0] == "en"


def test_a_profile_is_surprised_by_another_domain():
    profile = Profile.learn([_library(5)])
    assert profile.surprise(CODE) < profile.surprise(CHINESE)
    assert profile.surprise("") == 0.0


@pytest.mark.parametrize(("domain", "text"), [pytest.param(*one[1:], id=one[0]) for one in TRICKY])
def test_odd_but_clean_text_passes(domain, text):
    found = lint(text, domain=domain)
    assert found.verdict != "corrupt", (found.kind, found.evidence)


@pytest.mark.parametrize(
    ("back", "codec"), [("latin-1", "latin-1"), ("gb18030", "gb18030"), ("cp1251", "cp1251")]
)
def test_garbled_chinese_is_repaired_where_it_can_be(back, codec):
    found = lint((CHINESE * 2).encode().decode(codec, "ignore"))
    assert found.kind == "garbled"
    assert found.repair is not None
    assert sum(a == b for a, b in zip(found.repair, CHINESE, strict=False)) > 0 or back != codec
    assert len(set(found.repair) & set(CHINESE)) > 0.6 * len(set(CHINESE))


def test_chinese_bytes_read_as_latin_are_told_and_repaired():
    found = lint(CHINESE.encode("gbk").decode("latin-1"))
    assert found.kind == "garbled"


@pytest.mark.parametrize(
    ("hole", "kind"),
    [("\n" * 900, "blank"), (random.Random(6).randbytes(900).decode("latin-1"), "garbled")],
)
def test_damage_in_a_part_of_a_document_is_found_and_its_place_told(hole, kind):
    before, after = _library(1)[:1500], _library(1)[1500:2600]
    found = lint(before + hole + after, domain="code")
    assert found.kind == kind
    first, stop = found.offsets[0][0], found.offsets[-1][1]
    assert first < len(before) + 600
    assert stop > len(before) + 300
    assert stop <= len(before) + len(hole) + 600


@pytest.mark.parametrize("mark", ["#xx", "%", "="])
def test_escaped_text_is_encoded(mark):
    escapes = {
        "#xx": CHINESE.encode("ascii", "backslashreplace").decode(),
        "%": "".join(f"%{byte:02X}" for byte in CHINESE.encode()),
        "=": "".join(f"={byte:02X}" for byte in CHINESE.encode()),
    }
    assert lint(escapes[mark]).kind == "encoded"


def test_near_repetition_with_a_counter_is_told():
    text = "\n".join(f"The {at}th time the same sentence comes, with a number." for at in range(40))
    assert lint(text).kind == "repetition"


def test_prose_among_code_and_code_among_prose_are_told_by_the_shipped_profiles():
    prose = ENGLISH * 3 + " Nobody knows when it began, and the report says only what was measured."
    assert lint(prose, domain="code").kind == "wrong_domain"
    assert lint(_library(1)[2000:5000], domain="en").kind == "wrong_domain"


@given(st.text(max_size=400))
def test_any_text_gets_a_verdict_with_places_inside_it(text):
    found = lint(text, domain="en")
    assert found.verdict in ("clean", "unusual", "corrupt")
    assert all(0 <= first <= stop <= len(text) for first, stop in found.offsets)


def test_lone_surrogates_are_no_reason_to_fail():
    assert lint("a\ud800b" * 50).kind == "garbled"
