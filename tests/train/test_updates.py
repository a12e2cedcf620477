"""The compact record of updates beside a plain dictionary of them."""

from hypothesis import given
from hypothesis import strategies as st

from steadytrain.train.updates import Made, Updates

RATES = st.none() | st.floats(0, 1)
MADE = st.builds(
    Made, draw=st.integers(0, 2**40), draw_end=st.integers(0, 2**40), committed=st.booleans(),
    loss=st.floats(allow_nan=False), lr=RATES, lr_planned=RATES,
)  # fmt: skip
MOVES = st.lists(
    st.tuples(st.just("make"), st.integers(1, 12), MADE)
    | st.tuples(st.just("cut"), st.integers(0, 12), st.none()),
    max_size=30,
)


@given(MOVES)
def test_it_tells_what_a_dictionary_tells(moves):
    updates, plain = Updates(), {}
    for what, step, made in moves:
        if what == "make":
            updates[step] = made
            plain[step] = made
        else:
            updates.cut(step)
            plain = {at: one for at, one in plain.items() if at <= step}
    for step in range(14):
        assert updates.get(step) == plain.get(step)
        for after in range(step + 1):
            some = [plain.get(at) for at in range(after + 1, step + 1)]
            landed = None if None in some else sum(one.committed for one in some)
            assert updates.landed(after, step) == landed


def test_an_update_takes_41_bytes():
    updates = Updates()
    one = Made(draw=0, draw_end=8, committed=True, loss=2.5, lr=1e-3, lr_planned=1e-3)
    for step in range(1, 10_001):
        updates[step] = one
    size = sum(len(column) * column.itemsize for column in updates._columns())
    assert size == 41 * 10_000
    assert updates.landed(0, 10_000) == 10_000
