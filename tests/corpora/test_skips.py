import importlib
import json
from dataclasses import dataclass

import numpy as np
import pytest

from steadytrain import cli
from steadytrain.corpora import SkipList, draws_left_out
from steadytrain.corpora.skips import Place, Skip
from steadytrain.errors import FeedError
from tests.corpora.makers import BLANK, CLEAN, write_lines

ROWS = [{"id": f"d{n}", "text": BLANK if n in (2, 5) else f"{CLEAN} {n}"} for n in range(8)]


@pytest.fixture
def out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "b.txt").write_text(BLANK)
    cli.main(["lint", "a.jsonl", "b.txt", "--out", "out"])
    capsys.readouterr()
    return tmp_path / "out"


class TestSkipList:
    def test_it_excludes_what_the_lint_called_corrupt_and_nothing_else(self, out):
        skips = SkipList.load(out)
        assert [skips.excludes("a.jsonl", f"d{n}") for n in range(8)] == [
            n in (2, 5) for n in range(8)
        ]
        assert not skips.excludes("c.jsonl", "d2")
        assert skips.numbers("a.jsonl") == (3, 6)
        assert len(skips) == 3

    def test_a_file_that_is_one_document_excludes_all_of_it(self, out):
        skips = SkipList.load(out / "skips.jsonl")
        assert skips.excludes("b.txt")
        assert skips.excludes("b.txt", "whatever")

    def test_characters_are_asked_for_by_their_span(self):
        skips = SkipList.of([Skip(source="a", document=7, number=7, offsets=((10, 20), (50, 60)))])
        assert skips.excludes("a", "7", begin=15, stop=16)
        assert not skips.excludes("a", 7, begin=20, stop=50)

    def test_files_may_have_other_names_where_the_run_is(self, out):
        skips = SkipList.load(out, renamed=lambda name: f"/data/{name}")
        assert skips.excludes("/data/a.jsonl", "d2")

    def test_a_line_says_where_and_what(self, out):
        first = json.loads((out / "skips.jsonl").read_text().splitlines()[0])
        assert (first["source"], first["document"], first["number"]) == ("a.jsonl", "d2", 3)
        assert (first["class"], first["offsets"]) == ("blank", [[0, 400]])

    def test_a_list_whose_lint_has_not_ended_is_refused(self, out):
        progress = json.loads((out / "progress.json").read_text())
        (out / "progress.json").write_text(json.dumps(progress | {"done": False}))
        with pytest.raises(FeedError, match="has not ended"):
            SkipList.load(out)

    def test_a_torn_or_missing_list_is_refused(self, out, tmp_path):
        with pytest.raises(FeedError, match="cannot be read"):
            SkipList.load(tmp_path / "nowhere")
        (out / "skips.jsonl").write_text('{"source": "a')
        with pytest.raises(FeedError, match="line 1 is no entry"):
            SkipList.load(out)


@dataclass(frozen=True)
class Block:
    tokens: np.ndarray
    domain: int
    source: str
    num_bytes: int


class Order:
    """Draw d is document d % 8 of a.jsonl: the smallest data order."""

    domains = ("en",)

    def block(self, draw):
        tokens = np.frombuffer(self.text(draw)[:40].encode().ljust(40), np.uint8)
        return Block(tokens=tokens, domain=0, source=f"d{draw % 8}", num_bytes=40)

    def text(self, draw):
        return ROWS[draw % 8]["text"]


def test_a_feed_leaves_out_the_draws_of_the_skip_list_in_every_step(out):
    pytest.importorskip("torch")
    train = importlib.import_module("steadytrain.train")
    order, skips = Order(), SkipList.load(out)
    places = [
        Place(first=draw, end=draw + 1, source="a.jsonl", document=order.block(draw).source)
        for draw in range(40)
    ]
    left_out = draws_left_out(skips, places)
    feed = train.Feed(order, batch_size=6, left_out=left_out)
    drawn = [draw for step in range(1, 6) for draw in feed.step_draws(step)]
    assert left_out[:2] == ((2, 3), (5, 6))
    assert drawn == [draw for draw in range(40) if draw % 8 not in (2, 5)]
    feed.leave_out([(3, ((8, 9),))])
    feed.seek(0)
    drawn = [draw for step in range(3, 6) for draw in feed.step_draws(step)]
    assert drawn == [0, 1, 3, 4, 6, 7, 9, 11, 12, 14, 15, 16, 17, 19, 20, 22, 23, 24]
