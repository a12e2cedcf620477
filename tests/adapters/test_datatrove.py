import gzip
import json

import pytest

pytest.importorskip("datatrove")
pytestmark = pytest.mark.filterwarnings("ignore")  # what others' libraries warn of is theirs

CLEAN = "The loss of a long run falls, and then, one night, it does not fall any more. "


def test_a_pipeline_keeps_clean_documents_and_writes_down_why_others_were_dropped(tmp_path):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    from steadytrain.adapters.datatrove import LintFilter

    rows = [{"id": "good", "text": CLEAN}, {"id": "bad", "text": "\n" * 300}]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    LocalPipelineExecutor(
        [
            JsonlReader(str(tmp_path / "in")),
            LintFilter(domain="en", exclusion_writer=JsonlWriter(str(tmp_path / "dropped"))),
            JsonlWriter(str(tmp_path / "kept")),
        ],
        logging_dir=str(tmp_path / "logs"),
    ).run()
    (kept,) = _rows(tmp_path / "kept")
    (dropped,) = _rows(tmp_path / "dropped")
    assert kept["id"] == "good"
    assert dropped["id"] == "bad"
    assert dropped["metadata"]["filter_reason"] == dropped["metadata"]["lint_class"] == "blank"


def _rows(folder):
    return [
        json.loads(line)
        for path in folder.glob("*.gz")
        for line in gzip.open(path, "rt").read().splitlines()
    ]
