"""What the browser gets: words in both languages, libraries as they were published."""

import hashlib
import re
from pathlib import Path

import pytest

import steadytrain.board

BOARD = Path(steadytrain.board.__file__).parent
SCRIPTS = sorted((BOARD / "static").glob("*.js"))


def words(lang):
    """Key -> words of a language, from words.js."""
    text = (BOARD / "static" / "words.js").read_text(encoding="utf-8")
    part = text.split(f"  {lang}: {{")[1].split("\n  },")[0]
    return dict(re.findall(r'(\w+): "((?:[^"\\]|\\.)*)"', part))


def asked(text):
    """Keys that a script asks for: whole ones, and beginnings of those it puts together."""
    return set(re.findall(r'\bt\("(\w+)"', text)), set(re.findall(r"\bt\(`(\w+_)\$\{", text))


EVERY = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)


def test_both_languages_have_the_same_words():
    assert words("en").keys() == words("zh").keys()


def test_the_holes_of_a_sentence_are_the_same_in_both():
    for key, english in words("en").items():
        assert set(re.findall(r"\{\w+\}", english)) == set(
            re.findall(r"\{\w+\}", words("zh")[key])
        ), key


def test_every_word_that_is_asked_for_is_there():
    whole, begun = asked(EVERY)
    known = words("en")
    assert whole <= known.keys()
    assert all(any(key.startswith(one) for key in known) for one in begun)


def test_every_word_is_asked_for():
    whole, begun = asked(EVERY)
    named = set(re.findall(r'"(\w+)"', EVERY))  # lists of keys, such as those of the keyboard
    unused = {
        key
        for key in words("en")
        if key not in whole | named and not any(key.startswith(one) for one in begun)
    }
    assert unused == set()


def test_chinese_words_are_chinese():
    own = r"[\u3001\u4e00-\u9fff]"
    latin = [key for key, text in words("zh").items() if not re.search(own, text)]
    assert latin == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_page_says_a_word_of_its_own(path):
    """Text between tags that is not asked for by key: letters outside of `${...}`."""
    if path.name in ("words.js", "keys.js"):
        return
    templates = re.findall(r"html`((?:[^`\\]|\\.)*)`", path.read_text(encoding="utf-8"))
    for template in templates:
        bare = template
        while "${" in bare:
            smaller = re.sub(r"\$\{[^{}]*\}", "", bare)
            smaller = re.sub(r"\{[^{}]*\}", "", smaller) if smaller == bare else smaller
            if smaller == bare:
                break
            bare = smaller
        for text in re.findall(r">([^<>${}`=()]*)<", bare):
            said = re.sub(r"\\u\w{4}|tok/s|rank|steadytrain", "", text)
            assert not re.search(r"[A-Za-z]{3,}", said), (path.name, text)


@pytest.mark.parametrize("name", sorted(path.name for path in (BOARD / "vendor").iterdir()))
def test_a_vendored_file_is_as_it_was_published(name):
    listed = dict(
        line.split()[:2][::-1]
        for line in (BOARD / "vendor" / "SHA256SUMS").read_text().splitlines()
        if line and not line.startswith("#")
    )
    if name == "SHA256SUMS":
        return
    digest = hashlib.sha256((BOARD / "vendor" / name).read_bytes()).hexdigest()
    assert listed[name] == digest


def test_every_library_has_its_licence():
    for library in ("preact", "htm", "uplot", "inter"):
        assert (BOARD / "vendor" / f"{library}-LICENSE").stat().st_size > 500


def test_nothing_is_fetched_from_elsewhere():
    for path in (BOARD / "static").iterdir():
        text = path.read_text(encoding="utf-8")
        found = re.findall(r"https?://[^\s\"'`)]+", text)
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path.name
