"""Each example runs on CPU."""

import subprocess
import sys
from pathlib import Path

import pytest

from steadytrain import journal
from steadytrain.events import RunEnded

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))

NEEDS = {"torchft_replicas": ("torchft",)}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs_to_its_end(example, tmp_path):
    for module in NEEDS.get(example.stem, ()):
        pytest.importorskip(module, reason=f"needs pip install 'steadytrain[{module}]'")
    command = [sys.executable, str(example), "--home", str(tmp_path / "run"), "--steps", "40"]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    assert any(isinstance(one, RunEnded) for one in journal.read(tmp_path / "run"))
