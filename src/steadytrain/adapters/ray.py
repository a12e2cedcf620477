"""A function for Ray Data: a verdict beside every text of a data set, on all its machines.

    corpus = ray.data.read_parquet("s3://corpus/")
    judged = corpus.map_batches(lint_batch, fn_kwargs={"domain": "zh"})
    judged.filter(expr="lint_verdict != 'corrupt'").write_parquet("s3://clean/")

Ray itself is not imported. Tested with Ray 2.60 on one machine.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steadytrain.errors import CorpusError
from steadytrain.text import lint


def lint_batch(
    batch: dict[str, NDArray[Any]], *, column: str = "text", domain: str | None = None
) -> dict[str, NDArray[Any]]:
    """The batch and, per row, `lint_verdict`, `lint_class` ("" unless corrupt), `lint_confidence`,
    `lint_begin` and `lint_end` (from the first damaged character to behind the last, -1 where there
    is none) and `lint_evidence`.

    Args:
        column: where the text is; None in it counts as an empty text.
        domain: what the text should be, where the batch has no column `domain` or None in it.

    Raises:
        CorpusError: there is no such column.

    >>> import numpy as np
    >>> found = lint_batch({"text": np.array([chr(10) * 99, "A loss curve that falls, slowly."])})
    >>> found["lint_verdict"].tolist(), found["lint_class"].tolist()
    (['corrupt', 'clean'], ['blank', ''])
    """
    if column not in batch:
        raise CorpusError(
            f"the batch has no column {column!r} but {', '.join(batch)}, so there is nothing to "
            f"lint. Write fn_kwargs={{'column': NAME}}."
        )
    own = batch.get("domain", [None] * len(batch[column]))
    found = [
        lint(str(text) if text is not None else "", domain=own_domain or domain)
        for text, own_domain in zip(batch[column], own, strict=True)
    ]
    spans = [
        (min(b for b, _ in one.offsets), max(e for _, e in one.offsets))
        if one.offsets
        else (-1, -1)
        for one in found
    ]
    return {
        **batch,
        "lint_verdict": np.array([one.verdict for one in found], dtype=object),
        "lint_class": np.array([one.kind or "" for one in found], dtype=object),
        "lint_confidence": np.array([one.confidence for one in found], dtype=np.float64),
        "lint_begin": np.array([begin for begin, _ in spans], dtype=np.int64),
        "lint_end": np.array([end for _, end in spans], dtype=np.int64),
        "lint_evidence": np.array([one.evidence for one in found], dtype=object),
    }
