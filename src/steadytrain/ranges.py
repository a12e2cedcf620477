"""Sets of draws as sorted, disjoint, half-open ranges: what feeds leave out, remedies name."""

from bisect import bisect_right
from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]


def merge(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Sorted and disjoint; touching and overlapping ranges become one, empty ones vanish.

    >>> merge([(5, 9), (0, 2), (2, 3), (7, 7)])
    ((0, 3), (5, 9))
    """
    merged: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if first >= end:
            continue
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return tuple(merged)


def from_members(members: Iterable[int]) -> Ranges:
    """
    >>> from_members([4, 1, 2])
    ((1, 3), (4, 5))
    """
    return merge((member, member + 1) for member in members)


def contains(ranges: Ranges, member: int) -> bool:
    """Whether a draw lies in merged ranges."""
    index = bisect_right(ranges, (member, float("inf"))) - 1
    return index >= 0 and ranges[index][0] <= member < ranges[index][1]


def overlaps(ranges: Ranges, first: int, end: int) -> bool:
    """Whether any of merged ranges meets [first, end)."""
    index = bisect_right(ranges, first, key=lambda one: one[1])
    return first < end and index < len(ranges) and ranges[index][0] < end


def size(ranges: Ranges) -> int:
    """How many draws the ranges hold."""
    return sum(end - first for first, end in ranges)
