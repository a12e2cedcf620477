"""Every sequence of an update is computed once, whoever takes part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steadytrain.adapters.replicas.shares import Share

SIZES = st.tuples(
    st.integers(1, 70), st.integers(1, 6), st.integers(1, 4), st.integers(1, 9), st.integers(0, 99)
)


def everybody(draws, replicas, world, batch_size):
    """[replica][rank] -> pieces"""
    return [
        [
            list(
                Share(place=place, replicas=replicas, rank=rank, world=world).pieces(
                    draws, batch_size
                )
            )
            for rank in range(world)
        ]
        for place in range(replicas)
    ]


@given(SIZES)
def test_all_shares_together_are_the_update(sizes):
    number, replicas, world, batch_size, first = sizes
    draws = range(first, first + number)
    pieces = [
        piece
        for one in everybody(draws, replicas, world, batch_size)
        for rank in one
        for piece in rank
    ]
    assert sorted(draw for piece in pieces if piece.weight for draw in piece.draws) == list(draws)
    assert all(0 < len(piece.draws) <= batch_size for piece in pieces)


@given(SIZES)
def test_the_ranks_of_a_replica_compute_equally_often(sizes):
    number, replicas, world, batch_size, first = sizes
    shares = everybody(range(first, first + number), replicas, world, batch_size)
    assert all(len({len(rank) for rank in one}) == 1 for one in shares)


@given(SIZES)
def test_the_weighted_means_average_to_the_mean_over_the_sequences(sizes):
    number, replicas, world, batch_size, first = sizes
    draws = range(first, first + number)
    loss = {draw: (draw * 37 % 11) / 7 for draw in draws}
    shares = everybody(draws, replicas, world, batch_size)
    ranks = [
        sum(piece.weight * sum(map(loss.get, piece.draws)) / len(piece.draws) for piece in rank)
        for one in shares
        for rank in one
    ]
    assert sum(ranks) / len(ranks) == pytest.approx(sum(loss.values()) / number)
