"""Writes a golden file of SwanLab with SwanLab itself, in an environment of its own for each.

    pip install swanlab==0.10.3               -> protobuf.swanlab (version 2)
    pip install swanlab==0.7.20 setuptools    -> json.swanlab (version 1)

Records that hold paths (copied files, the log of the terminal) are left out on the way, and those
of version 1 that only describe columns, for their size.
"""

import math
import tempfile
from importlib.metadata import version
from pathlib import Path

import swanlab

HOME = Path(__file__).parent / "swanlab"
LOSSES = [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 5e-324, 7]


def main() -> None:
    HOME.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        if version("swanlab").startswith("0.7."):
            swanlab.init(mode="offline", project="golden", experiment_name="demo", logdir=scratch)
        else:
            _init(scratch)
        _log()
        (made,) = Path(scratch).glob("*/*.swanlab")
        if version("swanlab").startswith("0.7."):
            _copy_json(made, HOME / "json.swanlab")
        else:
            _copy_protobuf(made, HOME / "protobuf.swanlab")


def _init(scratch: str) -> None:
    probed = ("hardware", "runtime", "requirements", "conda", "git", "swanlab", "monitor")
    swanlab.init(
        mode="offline",
        project="golden",
        experiment_name="demo",
        log_dir=scratch,
        id="golden01",
        settings=swanlab.Settings(
            probe=dict.fromkeys(probed, False) | {"monitor": True, "hardware": True}
        ),
    )


def _log() -> None:
    for step, loss in enumerate(LOSSES):
        nested = {"lr": step / 1000, "deep": {"er": step}}
        swanlab.log({"train/loss": loss, "opt": nested, "flag": True})
    swanlab.log({"val/loss": 1.5}, step=20)
    swanlab.log({"val/loss": 1.25}, step=15)
    swanlab.log({"val/loss": 9.0}, step=20)  # SwanLab drops it
    swanlab.log({"note": swanlab.Text("text"), "far": 2.0}, step=200_000)
    swanlab.log({"n" * 130: 1, "verlust \N{GREEK SMALL LETTER EPSILON}": 0.5}, step=200_001)
    swanlab.finish()


def _copy_protobuf(made: Path, target: Path) -> None:
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record
    from swanlab.sdk.internal.core_python.store import DataStoreReader, DataStoreWriter

    reader, writer = DataStoreReader(), DataStoreWriter()
    target.unlink(missing_ok=True)
    reader.open(made)
    writer.open(target)
    for octets in reader:
        if Record.FromString(octets).WhichOneof("record_type") not in ("save", "log"):
            writer.write(octets)
    writer.close()


def _copy_json(made: Path, target: Path) -> None:
    from swanlab.data.porter.datastore import DataStore

    reader, writer = DataStore(), DataStore()
    target.unlink(missing_ok=True)
    reader.open_for_scan(str(made))
    writer.open_for_write(str(target))
    while (line := reader.scan()) is not None:
        if not line.startswith(('{"model_type": "Log"', '{"model_type": "Column"')):
            writer.write(line)
    writer.ensure_flushed()
    writer.close()


if __name__ == "__main__":
    main()
