"""Ranges against plain sets."""

from hypothesis import given
from hypothesis import strategies as st

from steadytrain import ranges

pairs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def _members(given_pairs):
    return {member for first, end in given_pairs for member in range(first, end)}


@given(pairs)
def test_merged_ranges_hold_the_same_members(given_pairs):
    merged = ranges.merge(given_pairs)
    assert _members(merged) == _members(given_pairs)
    assert ranges.size(merged) == len(_members(given_pairs))
    assert all(a[1] < b[0] for a, b in zip(merged, merged[1:], strict=False))


@given(pairs, st.integers(0, 60))
def test_contains_is_membership(given_pairs, member):
    merged = ranges.merge(given_pairs)
    assert ranges.contains(merged, member) == (member in _members(given_pairs))


@given(pairs, st.integers(0, 60), st.integers(0, 60))
def test_overlaps_is_a_common_member(given_pairs, first, end):
    merged = ranges.merge(given_pairs)
    assert ranges.overlaps(merged, first, end) == bool(_members(merged) & set(range(first, end)))


@given(st.sets(st.integers(0, 60)))
def test_ranges_from_members_give_them_back(members):
    assert _members(ranges.from_members(members)) == members
