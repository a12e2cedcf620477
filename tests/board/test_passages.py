"""Text of the training data: the bad part marked, nothing hidden, nothing from elsewhere."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadytrain.board.passages import MOST_BYTES, inside, passages, pieces
from steadytrain.errors import JournalError


def written(home, text, **more):
    told = {"draw": 1, "step": 2, "domain": "en", "source": "s", "loss": 3.0, "z": 1.0,
            "verdict": "corrupt", "evidence": "e", "role": "suspect", "text": text} | more  # fmt: skip
    (home / "texts.json").write_text(json.dumps([told]))
    return passages(home, "texts.json", "en")[0]


def test_the_bad_part_is_marked(tmp_path):
    good = "A plain sentence about nothing in particular, long enough to be read. "
    told = written(tmp_path, good + "\ufffd\ufffd\ufffd\ufffd" * 30)
    kinds = {kind for kind, _ in told["pieces"]}
    assert "badmark" in kinds
    assert told["pieces"][0][0] == "text"


def test_direction_and_control_characters_are_spelled():
    assert pieces("a\u202eb\x1b[0m") == [
        ["text", "a"], ["mark", "U+202E"], ["text", "b"], ["mark", "U+001B"], ["text", "[0m"],
    ]  # fmt: skip


def test_many_of_one_character_are_counted():
    assert pieces("\n" * 129) == [["mark", "\u23ce\u00d7129"], ["text", "\n"]]


@given(st.text(max_size=200))
def test_every_piece_can_be_printed_and_none_is_lost(text):
    found = pieces(text)
    assert all(part.isprintable() or part == "\n" for _, part in found)
    assert sum(len(part) for kind, part in found if kind == "text" and part != "\n") <= len(text)
    kept = "".join(part for kind, part in found if kind in ("text", "bad") and part != "\n")
    assert kept == "".join(
        char for char in text if char == " " or (char.isprintable() and char != "\ufffd")
    )


def test_a_long_text_is_cut_and_says_so(tmp_path):
    told = written(tmp_path, "word " * 2_000, verdict="clean")
    assert told["more"] == 6_000


@pytest.mark.parametrize("path", ["../secret.json", "/etc/passwd", "a/../../secret.json"])
def test_a_path_out_of_the_home_is_refused(tmp_path, path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret.json").write_text("[]")
    with pytest.raises(JournalError, match="leads out"):
        passages(home, path, "en")


def test_a_link_out_of_the_home_is_refused(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret.json").write_text("[]")
    (home / "texts.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(JournalError, match="leads out"):
        passages(home, "texts.json", "en")
    assert inside(home, "other.json") == home.resolve() / "other.json"


@pytest.mark.parametrize("content", ["{", "[1, 2]", '"x"', "[[]]", ""])
def test_a_file_that_is_no_list_of_sequences_is_told_or_empty(tmp_path, content):
    (tmp_path / "texts.json").write_text(content)
    with contextlib.suppress(JournalError):
        assert passages(tmp_path, "texts.json", "en") == []


def test_a_huge_file_is_not_read(tmp_path):
    with open(tmp_path / "texts.json", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(JournalError, match="more than"):
        passages(tmp_path, "texts.json", "en")
