"""Our own journal as a log: every step, named domains, honest about what is broken."""

import math
from pathlib import Path

import numpy as np
import pytest

from steadytrain.errors import LogError
from steadytrain.journal import Journal
from steadytrain.readers.journals import RunJournal
from tests.samples import began, record

READER = RunJournal()


@pytest.fixture
def home(tmp_path):
    with Journal(tmp_path / "run7", "rank0") as book:
        book.append(began(("zh/web", "code")))
        for step in (1, 2, 3, 3):
            book.append(record(step, (3.0, 2.0)))
        book.append(record(4, (math.nan, 2.0), grad_norm=math.inf))
    with Journal(tmp_path / "run7", "rank0") as book:
        book.append(record(5, (1.0, 2.0), tokens=(0, 1000), sequences=(0, 10)))
    return tmp_path / "run7"


def files(home):
    return sorted((home / "journal").glob("*.jsonl"))


def test_each_step_is_read_as_it_was_made_and_domains_have_their_names(home):
    (run,) = READER.read(files(home)[0])
    assert run.name == "run7"
    assert run.series["loss"].steps.tolist() == [1, 2, 3, 3, 4]
    np.testing.assert_allclose(run.series["loss/zh/web"].values[:3], 3.0)
    assert math.isnan(run.series["loss"].values[-1])
    assert run.series["grad_norm"].values[-1] == math.inf


def test_a_later_file_knows_its_domains_and_leaves_out_one_without_tokens(home):
    (run,) = READER.read(files(home)[1])
    assert run.series["loss/code"].values.tolist() == [2.0]
    assert len(run.series["loss/zh/web"].values) == 0


def test_only_journals_are_recognized(home):
    head = files(home)[0].read_bytes()[:65536]
    assert READER.recognizes(Path("x"), head)
    for foreign in (b"", b"\x00\x01", b'{"step":1,"loss":2.0}\n', b"step,loss\n1,2\n"):
        assert not READER.recognizes(Path("x.jsonl"), foreign)


def test_a_torn_end_is_left_out_and_a_broken_middle_is_refused(home):
    path = files(home)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert READER.read(path)[0].series["loss"].steps.tolist() == [1, 2, 3, 3]
    path.write_bytes(whole.replace(b'"step":2,', b'"step":,'))
    with pytest.raises(LogError, match="line 3 of"):
        READER.read(path)


def test_a_file_without_steps_has_no_series(tmp_path):
    with Journal(tmp_path / "run8", "supervisor") as book:
        book.append(began(("zh",)))
    assert READER.read(files(tmp_path / "run8")[0])[0].series == {}
