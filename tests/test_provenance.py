"""Every sequence of every step can be traced."""

import numpy as np
import pytest

from steadytrain import provenance, show
from steadytrain.errors import SettingError
from steadytrain.provenance import RECORD, Ledger
from tests import rig


def add(ledger, step, draws, *, attempt=1, losses=None, digests=None, defects=()):
    ledger.add(
        attempt=attempt, step=step, committed=True, draws=np.array(draws),
        domains=np.array(draws) % 2, losses=np.array(losses or [2.0] * len(draws), np.float32),
        digests=np.array(digests or draws, np.uint32), defects=defects,
    )  # fmt: skip


def test_a_step_is_read_as_it_was_made_last(tmp_path):
    ledger = Ledger(tmp_path, 0)
    add(ledger, 1, [0, 1])
    add(ledger, 2, [2, 3])
    add(ledger, 2, [4, 5], attempt=2)
    ledger.close()
    assert provenance.read(tmp_path, 2, 2)["draw"].tolist() == [4, 5]
    assert provenance.read(tmp_path, 1, 9)["step"].tolist() == [1, 1, 2, 2]


def test_all_ranks_are_read_together(tmp_path):
    for rank in (0, 1):
        ledger = Ledger(tmp_path, rank)
        add(ledger, 1, [rank, 2 + rank])
        ledger.close()
    found = provenance.read(tmp_path, 1, 1)
    assert found["draw"].tolist() == [0, 1, 2, 3]
    assert found["rank"].tolist() == [0, 1, 0, 1]


def test_a_record_that_a_kill_tore_is_cut_off(tmp_path):
    ledger = Ledger(tmp_path, 0)
    add(ledger, 1, [0, 1])
    ledger.close()
    path = tmp_path / "provenance" / "rank0.bin"
    path.write_bytes(path.read_bytes()[:-5])
    ledger = Ledger(tmp_path, 0)
    add(ledger, 2, [2])
    ledger.close()
    assert path.stat().st_size == 2 * RECORD.itemsize
    assert provenance.read(tmp_path, 1, 2)["draw"].tolist() == [0, 2]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    rig.train(folder / "r", steps=40, garbled=range(30 * rig.BATCH, 31 * rig.BATCH))
    return folder / "r"


def order_of(_):
    return rig.Words(range(30 * rig.BATCH, 31 * rig.BATCH))


def test_a_step_shows_its_corrupt_sequences_first_with_source_and_text(home, capsys):
    rows = provenance.read(home, 1, 40)
    bad = rows[np.isin(rows["draw"], np.arange(30 * rig.BATCH, 31 * rig.BATCH, 2))]
    step = int(bad["step"].min()) if len(bad) else 31
    found = show.show(home, step, order=f"{__name__}:order_of")
    assert len(found) == rig.BATCH
    assert all(one.source == f"words:{one.draw}" for one in found)
    assert show.run(home, 5, order=f"{__name__}:order_of", top=3, as_json=False) == 0
    out = capsys.readouterr().out
    assert "step 5: 12 sequences, 0 corrupt" in out
    assert "words:" in out


def test_without_a_data_order_draws_and_losses_are_shown(home, capsys):
    show.run(home, 5, order=None, top=2, as_json=False)
    assert "--order module:function" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("step", "order", "words"),
    [(9999, None, "Name a step that the run has made"), (5, "no.such:thing", "Write --order")],
)
def test_what_cannot_be_shown_is_said(home, step, order, words):
    with pytest.raises(SettingError, match=words):
        show.show(home, step, order=order)


def test_a_run_without_records_is_refused(tmp_path):
    (tmp_path / "journal").mkdir()
    with pytest.raises(SettingError, match="provenance"):
        show.show(tmp_path, 1)
