"""What a browser gets to draw."""

import math

import numpy as np
import pytest

from steadytrain.board.pictures import Window, heat, picture, shares
from steadytrain.board.track import Track
from steadytrain.news import Step
from tests.board.rig import unpack


def track(rows=1000, *, spike=None, back=None):
    one = Track(domains=("zh", "en"))
    rng = np.random.default_rng(0)
    losses = 2.0 + 0.05 * rng.standard_normal(rows)
    if spike is not None:
        losses[spike - 1] = 9.0
    one.add([made(at + 1, loss) for at, loss in enumerate(losses.tolist())])
    if back is not None:
        one.go_back(back, attempt=2)
        one.add([made(at, 2.0, attempt=2) for at in range(back + 1, rows + 1)])
    return one


def made(step, loss, **more):
    return Step(
        at=1000.0 + step, step=step, draw_end=8 * step, loss=loss, nll=(loss * 100, loss * 300),
        tokens=(100, 300), seconds=1.0, grad_norm=0.5, **{"attempt": 1, **more},
    )  # fmt: skip


def test_few_steps_are_given_as_they_are():
    header, (x, raw) = unpack(picture(track(100), ["loss", "loss:en"], Window(columns=800)))
    assert header["stride"] == 1
    assert x.tolist() == list(range(1, 101))
    np.testing.assert_allclose(raw[0], raw[1], rtol=1e-6)


@pytest.mark.parametrize("columns", [30, 100, 700])
def test_no_spike_of_one_step_is_lost(columns):
    header, (x, raw) = unpack(
        picture(track(20_000, spike=7_777), ["loss"], Window(columns=columns))
    )
    assert raw[0].max() == 9.0
    at = x[int(raw[0].argmax())]
    assert abs(at - 7_777) <= header["stride"]
    assert len(x) <= 2 * (2 * columns + 2)


def test_a_zoom_reaches_the_very_step():
    window = Window(columns=800, first=7_700, last=7_800)
    header, (x, raw) = unpack(picture(track(20_000, spike=7_777), ["loss"], window))
    assert header["stride"] == 1
    assert x[int(raw[0].argmax())] == 7_777
    assert (x[0], x[-1]) == (7_699, 7_801)  # one more on each side: a line enters and leaves


def test_the_smoothed_curve_does_not_depend_on_where_the_window_begins():
    one = track(3_000)
    _, (x, _, whole) = unpack(picture(one, ["loss"], Window(columns=3_000, span=20)))
    window = Window(columns=3_000, span=20, first=2_000, last=2_100)
    _, (part_x, _, part) = unpack(picture(one, ["loss"], window))
    np.testing.assert_allclose(part[0], whole[0][np.searchsorted(x, part_x)], rtol=1e-4)


@pytest.mark.parametrize(("axis", "last"), [("step", 100), ("tokens", 40_000), ("time", 1100.0)])
def test_axes_are_steps_tokens_and_time(axis, last):
    header, (x, *_) = unpack(picture(track(100), ["loss"], Window(axis=axis)))
    assert x[-1] == last
    assert header["extent"][1] == last


def test_a_branch_that_was_given_up_comes_apart():
    header, (x, raw, branch_x, branch) = unpack(
        picture(track(100, spike=90, back=80), ["loss"], Window())
    )
    assert header["branches"] == [{"attempt": 1, "until": 2}]
    assert branch_x.tolist() == list(range(81, 101))
    assert branch[0].max() == 9.0
    assert raw[0].max() < 3.0


def test_what_is_no_number_and_what_was_held_back_is_marked():
    one = Track(domains=("zh", "en"))
    one.add([made(1, 2.0), made(2, math.nan), made(3, 2.0, committed=False)])
    header, _ = unpack(picture(one, ["loss", "grad_norm"], Window()))
    assert header["odd"] == [[2.0], []]
    assert header["held"] == [3.0]


def test_a_run_without_steps_has_an_empty_picture():
    header, (x, raw) = unpack(picture(Track(domains=("zh",)), ["loss"], Window()))
    assert (header["rows"], len(x), raw.shape) == (0, 0, (1, 0))


def test_a_series_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="loss:latin"):
        picture(track(10), ["loss:latin"], Window())


def test_the_heat_strip_shows_the_farthest_of_each_stretch_and_of_branches():
    header, (edges, far) = unpack(heat(track(2_000, spike=1_500, back=1_400), Window(columns=50)))
    cell = int(np.searchsorted(edges, 1_500, side="right")) - 1
    assert header["rows"] == ["loss", "zh", "en"]
    assert (far[:, cell] > 20).all()
    assert len(edges) == far.shape[1] + 1


def test_shares_of_the_mixture_add_up_to_one():
    _, (x, parts) = unpack(shares(track(777), Window(columns=50)))
    np.testing.assert_allclose(parts.sum(0), 1.0, rtol=1e-6)
    np.testing.assert_allclose(parts[0], 0.25, rtol=1e-6)
    assert len(x) == parts.shape[1]
