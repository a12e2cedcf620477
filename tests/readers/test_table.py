"""Series with steps of their own become rows; a run that went back makes rows twice."""

import numpy as np

from steadytrain.readers.runs import series_of
from steadytrain.readers.table import tabulate


def column(table, name):
    return table.columns[name].tolist()


def test_series_logged_at_other_steps_leave_gaps():
    table = tabulate(
        {"loss": series_of([(1, 3.0), (2, 2.0), (4, 1.0)]), "lr": series_of([(2, 0.1), (3, 0.2)])},
        leader="loss",
    )
    assert table.steps.tolist() == [1, 2, 3, 4]
    assert column(table, "loss") == [3.0, 2.0, None, 1.0]
    assert column(table, "lr") == [None, 0.1, 0.2, None]


def test_a_run_that_went_back_keeps_both_of_its_lives():
    points = [(1, 3.0), (2, 9.0), (3, 9.0), (2, 2.0), (3, 1.0)]
    table = tabulate(
        {"loss": series_of(points), "norm": series_of([(1, 0.1), (3, 0.3)])}, leader="loss"
    )
    assert table.steps.tolist() == [1, 2, 3, 2, 3]
    assert column(table, "loss") == [3.0, 9.0, 9.0, 2.0, 1.0]
    assert column(table, "norm")[-1] == 0.3


def test_one_step_logged_by_several_ranks_is_averaged():
    table = tabulate({"loss": series_of([(1, 3.0), (1, 5.0), (2, 2.0)])}, leader="loss")
    assert column(table, "loss") == [4.0, 2.0]


def test_nan_is_a_value_and_not_a_gap():
    table = tabulate({"loss": series_of([(1, 3.0), (2, float("nan"))])}, leader="loss")
    assert not np.ma.getmaskarray(table.columns["loss"]).any()
    assert np.isnan(table.columns["loss"][1])
