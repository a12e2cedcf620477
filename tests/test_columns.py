"""A journal as arrays says what its records say."""

import math

import numpy as np
import pytest

from steadytrain import columns, journal
from steadytrain.errors import JournalError
from steadytrain.events import StepRecord
from steadytrain.journal import Journal
from tests.samples import EVERY_KIND, began, record


@pytest.fixture
def home(tmp_path):
    with Journal(tmp_path, "rank0") as book:
        book.append(began(("zh", "en", "code")))
        for step in range(1, 50):
            book.append(record(step, (3.0, 2.0 + step, 1.0), grad_norm=1.0 / step))
        for event in EVERY_KIND:
            if not isinstance(event, StepRecord):
                book.append(event)
        book.append(record(50, (math.nan, 2.0, 1.0)))
    return tmp_path


def test_columns_hold_what_the_records_hold(home):
    found = columns.read(home)
    records = [one for one in journal.load(home) if isinstance(one, StepRecord)]
    assert found.step.tolist() == [one.step for one in records]
    np.testing.assert_array_equal(found.loss, [one.loss for one in records])
    np.testing.assert_array_equal(found.nll, [one.nll for one in records])
    np.testing.assert_array_equal(found.tokens, [one.tokens for one in records])
    known = [math.nan if one.grad_norm is None else one.grad_norm for one in records]
    np.testing.assert_array_equal(found.grad_norm, known)


def test_an_empty_journal_has_empty_columns(tmp_path):
    found = columns.read(tmp_path)
    assert found.step.shape == (0,)
    assert found.domains == ()


def test_a_broken_line_is_named_by_its_number(home):
    path = journal.files(home, "rank0")[0]
    path.write_bytes(path.read_bytes().replace(b'"step":7,', b'"step":"x",'))
    with pytest.raises(JournalError, match="line 8 of"):
        columns.read(home)
    with pytest.raises(JournalError, match="line 8 of"):
        journal.load(home)


class TestALongFileInPieces:
    @pytest.fixture
    def in_pieces(self, monkeypatch):
        monkeypatch.setattr(columns, "PIECE_BYTES", 4000)
        monkeypatch.setattr(columns, "_num_cores", lambda: 3)

    def test_processes_read_what_one_would_read(self, home, in_pieces, monkeypatch):
        pieces = columns.read(home)
        assert len(columns._parts(journal.files(home, "rank0")[0])) == 3
        monkeypatch.setattr(columns, "_num_cores", lambda: 1)
        whole = columns.read(home)
        assert pieces.domains == whole.domains == ("zh", "en", "code")
        for name in ("step", "loss", "grad_norm", "update", "lr", "seconds", "nll", "tokens"):
            np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))

    def test_pieces_that_no_process_can_read_are_read_here(self, home, in_pieces, monkeypatch):
        monkeypatch.setattr(columns, "_READER", "raise SystemExit(3)")
        assert len(columns.read(home).step) == 50

    def test_a_broken_line_is_named_by_its_number(self, home, in_pieces):
        path = journal.files(home, "rank0")[0]
        path.write_bytes(path.read_bytes().replace(b'"step":47,', b'"step":"x",'))
        with pytest.raises(JournalError, match="line 48 of"):
            columns.read(home)
