import numpy as np
import pytest

from steadytrain.adapters.ray import lint_batch
from steadytrain.errors import CorpusError

CLEAN = "The loss of a long run falls, and then, one night, it does not fall any more. "


def test_a_batch_gets_a_verdict_beside_every_text():
    texts = np.array([CLEAN, "\n" * 300, None], dtype=object)
    found = lint_batch({"text": texts, "n": np.arange(3)}, domain="en")
    assert found["lint_verdict"].tolist() == ["clean", "corrupt", "corrupt"]
    assert found["lint_class"].tolist() == ["", "blank", "blank"]
    assert (found["lint_begin"][1], found["lint_end"][1]) == (0, 300)
    assert found["n"].tolist() == [0, 1, 2]


def test_the_domain_of_a_row_is_honoured():
    batch = {
        "body": np.array(["def f(x):\n    return x\n" * 60] * 2, dtype=object),
        "domain": np.array(["code", None], dtype=object),
    }
    alone = [
        lint_batch({"body": batch["body"][:1]}, column="body", domain=d) for d in ("code", "zh")
    ]
    both = lint_batch(batch, column="body", domain="zh")
    assert both["lint_class"].tolist() == [one["lint_class"][0] for one in alone]


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(CorpusError, match="no column 'text' but body"):
        lint_batch({"body": np.array(["x"])})


@pytest.mark.filterwarnings("ignore")  # what others' libraries warn of is theirs
def test_ray_data_lints_in_its_own_processes():
    ray = pytest.importorskip("ray")
    data = pytest.importorskip("ray.data")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        rows = [{"id": i, "text": CLEAN if i % 2 else "\n" * 300} for i in range(20)]
        judged = data.from_items(rows).map_batches(lint_batch, fn_kwargs={"domain": "en"})
        found = {row["id"]: row["lint_verdict"] for row in judged.take_all()}
    finally:
        ray.shutdown()
    assert found == {i: "clean" if i % 2 else "corrupt" for i in range(20)}
