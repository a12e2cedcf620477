"""Every kind can be done, and every fault of two published injectors has its answer."""

import pytest

from steadytrain.chaos import inside
from steadytrain.chaos.kinds import CHECKLISTS, DAMAGES, KINDS, SIGNALS, kind_of
from steadytrain.errors import SettingError
from steadytrain.lab.faults import IN_PROCESS


@pytest.mark.parametrize("name", [one.name for one in KINDS.values() if one.where == "inside"])
def test_what_a_rank_does_to_itself_it_knows_how_to_do(name):
    assert name in inside.DEEDS or name == "slow-rank"


def test_what_is_sabotaged_is_known_to_the_lab():
    assert {one.sabotage for one in KINDS.values() if one.sabotage} <= set(IN_PROCESS)


def test_signals_and_damages_are_kinds():
    assert {*SIGNALS, *DAMAGES} <= KINDS.keys()


def test_both_checklists_are_answered_to_the_end():
    assert {name: len(entries) for name, entries in CHECKLISTS.items()} == {
        "lm-resiliency": 21,
        "nvidia-resiliency-ext": 12,
    }
    for entries in CHECKLISTS.values():
        for ours in entries.values():
            if not ours.startswith("not here: "):
                assert all(kind_of(name) for name in ours.split(", "))


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(SettingError, match="sigkill"):
        kind_of("gremlin")
