from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from steadytrain.corpora.documents import Trouble
from steadytrain.corpora.tally import Line, Tally, visible

seen = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["clean", "unusual", "blank"])))


def tally_of(rows):
    tally = Tally()
    for number, (file, what) in rows:
        line = Line(
            id=number,
            source=f"{file}:{number}",
            domain=None,
            verdict="corrupt" if what == "blank" else what,
            kind="blank" if what == "blank" else None,
            confidence=1.0,
            offsets=(),
            evidence="",
        )
        tally.count(str(file), line, characters=3, excerpt="x")
    return tally


@given(seen, st.lists(st.integers(0, 30)))
def test_counts_do_not_depend_on_how_the_corpus_was_divided(rows, cuts):
    numbered = list(enumerate(sorted(rows, key=lambda row: row[0])))
    edges = sorted({0, len(numbered), *(cut for cut in cuts if cut < len(numbered))})
    parts, whole = Tally(), Tally()
    for first, end in pairwise(edges):
        parts.merge(tally_of(numbered[first:end]))
    whole.merge(tally_of(numbered))
    assert parts.report() == whole.report()


def test_marks_that_steer_a_terminal_are_spelled_out():
    assert visible("a\x1b[31m\u202eb\u200f\n\u05d0 \u7a33") == (
        "a\\x1b[31m\\u202eb\\u200f\\n\\u05d0 \u7a33"
    )


def test_the_report_counts_what_was_passed_by_and_what_was_lost():
    tally = Tally()
    for why, level in ((".so", "passed"), (".so", "passed"), ("torn", "lost"), ("odd", "remark")):
        tally.note(Trouble(file="a", source="a", why=why, level=level))
    assert tally.report().splitlines() == [
        "passed by, empty or no text: .so 2",
        "not read: 1 files or parts of files",
        "0 documents read, 0 corrupt, 0 unusual",
    ]
