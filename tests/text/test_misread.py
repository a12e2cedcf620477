"""Bytes read in another encoding than they were written in, and what reads alike but is clean."""

import pytest

from steadytrain.text import lint

CHINESE = (
    "训练开始之前，从每个域里随机抽两百条序列，封存起来，永远不拿去训练。以后每次评测都用它们。"
    "固定的好处是成对比较：同一条序列今天和昨天的损失高度相关，相减之后噪声小得多。"
)
KOREAN = (
    "손실은 오랫동안 내려가다가 갑자기 올라갔다. 밤에 누군가 깨어나 곡선을 보고 추측한다. "
    "먼저 적고 나서 움직이는 도구는 믿을 수 있다. 그래서 우리는 기록을 남긴다."
)
RUSSIAN = (
    "Потери долго падали, а потом вдруг выросли. Ночью кто-то просыпается, смотрит на кривую и "
    "гадает. Инструменту, который сначала записывает, а потом действует, можно доверять."
)
JAPANESE = (
    "損失が下がり続けたあと、突然上がった。夜中に誰かが目を覚まし、曲線を見て推測する。"
    "書いてから動く道具は信頼できる。"
)
TYPESET = (
    "It isn\u2019t the author\u2019s page; it\u2019s \u201cfine\u201d, and we don\u2019t know. "
)
PLAIN = (
    "Plain words follow here. The loss of a long run falls, and then it does not; somebody wakes at "
    "night, looks at a curve, guesses. A tool that writes down what it saw can be trusted to act. "
    "Every domain has texts of its own, set aside before the first step and never trained on."
)


@pytest.mark.parametrize(
    ("text", "out", "back"),
    [
        *((CHINESE, "utf-8", back) for back in (
            "gb18030", "cp1252", "latin-1", "big5", "shift_jis", "euc_kr", "cp1251", "koi8_r",
            "mac_roman", "cp437", "utf-16-le",
        )),
        *((CHINESE, "gb18030", back) for back in ("latin-1", "cp1252", "utf-8", "big5", "shift_jis")),
        (KOREAN, "euc_kr", "gb18030"),
        (KOREAN, "euc_kr", "latin-1"),
        (KOREAN, "utf-8", "cp1252"),
        (RUSSIAN, "koi8_r", "cp1251"),
        (RUSSIAN, "cp1251", "koi8_r"),
        (RUSSIAN, "cp1251", "latin-1"),
        (RUSSIAN, "utf-8", "cp1251"),
        (JAPANESE, "shift_jis", "gb18030"),
        (JAPANESE, "shift_jis", "cp1252"),
        (JAPANESE, "utf-8", "gb18030"),
    ],
)  # fmt: skip
def test_text_read_in_the_wrong_encoding_is_garbled(text, out, back):
    assert lint(text.encode(out, "ignore").decode(back, "replace")).kind == "garbled"


@pytest.mark.parametrize("back", ["cp1252", "latin-1", "gb18030"])
def test_a_few_quotation_marks_read_wrongly_in_a_long_text_are_found(back):
    assert lint((TYPESET + PLAIN).encode().decode(back, "replace"), domain="en").kind == "garbled"


def test_text_read_wrongly_twice_is_found():
    once = CHINESE.encode().decode("cp1252", "replace")
    assert lint(once.encode().decode("cp1252", "replace")).kind == "garbled"


@pytest.mark.parametrize(
    ("text", "out", "back"),
    [(CHINESE, "utf-8", "latin-1"), (CHINESE, "gbk", "latin-1"), (KOREAN, "euc_kr", "gb18030"),
     (RUSSIAN, "koi8_r", "cp1251"), (TYPESET * 3, "utf-8", "latin-1")],
)  # fmt: skip
def test_what_was_misread_without_loss_is_given_back(text, out, back):
    found = lint(text.encode(out, "ignore").decode(back))
    assert found.repair == text


@pytest.mark.parametrize("text", [CHINESE, KOREAN, RUSSIAN, JAPANESE, TYPESET + PLAIN])
def test_the_same_text_read_rightly_is_clean(text):
    assert lint(text).verdict == "clean"


@pytest.mark.parametrize("language", [CHINESE, KOREAN, JAPANESE])
def test_what_became_question_marks_is_garbled(language):
    assert lint((language * 2).encode("ascii", "replace").decode()).kind == "garbled"


def test_characters_cut_between_chunks_are_found_with_their_places():
    raw = CHINESE.encode() * 6
    text = "".join(raw[at : at + 250].decode("utf-8", "replace") for at in range(0, len(raw), 250))
    found = lint(text, domain="zh")
    assert found.kind == "garbled"
    assert all("\ufffd" in text[first:stop] for first, stop in found.offsets)


def test_a_text_about_the_replacement_character_is_clean():
    text = (
        "A decoder writes \ufffd for what it cannot read. Two bytes may become \ufffd\ufffd. "
        + PLAIN
    )
    assert lint(text, domain="en").verdict == "clean"
