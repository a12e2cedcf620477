"""Writes the golden event files with the real writers: `pip install torch tensorboard==2.21.0`.

The writers put the host into the file's name only; the files are renamed for that.
"""

import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto
from torch.utils.tensorboard import SummaryWriter

HOME = Path(__file__).parent / "tensorboard"
STEPS = [0, 1, 2, 127, 128, 129, 16383, 16384, 3, 3, 2_097_152]
LOSSES = [2.5, math.nan, math.inf, -math.inf, 0.1, 0.0, -0.0, 3e38, 1e-40, 7.0, 0.25]


def main() -> None:
    _keep("torch", _with_torch)
    _keep("v2", _with_tensors)


def _keep(name: str, write: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(folder)
        (made,) = Path(folder).iterdir()
        target = HOME / name / "events.out.tfevents.1700000000.host.1.0"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, target)


def _with_torch(folder: str) -> None:
    with SummaryWriter(folder) as writer:
        writer.add_text("note", "not a scalar", 0, walltime=1.7e9)
        for i, (step, loss) in enumerate(zip(STEPS, LOSSES, strict=True)):
            wall = 1.7e9 + i
            writer.add_scalar("train/loss", loss, step, walltime=wall)
            writer.add_scalar("train/norm", 0.5 + step, step, walltime=wall)
            writer.add_scalar("new", 0.1 * i, step, walltime=wall, new_style=True)
            wide = {"new_style": True, "double_precision": True}
            writer.add_scalar("double", math.pi + i, step, walltime=wall, **wide)
            writer.add_histogram("weights", np.arange(5.0), step, bins=[0, 1, 5], walltime=wall)
        writer.add_pr_curve("curve", np.array([0, 1]), np.array([0.2, 0.9]), 1, walltime=1.7e9)


def _with_tensors(folder: str) -> None:
    writer = EventFileWriter(folder)
    writer.add_event(_event(0, hparams.hparams_pb({"lr": 0.1})))
    for step in range(5):
        writer.add_event(_event(step, scalar_pb("loss", 1.0 / (step + 1))))
        for tag, dtype in (("double", np.float64), ("int", np.int32), ("long", np.int64)):
            one = scalar_pb(tag, 0.0)
            one.value[0].tensor.CopyFrom(make_tensor_proto(np.array(step - 2, dtype)))
            writer.add_event(_event(step, one))
        content = make_tensor_proto(0.0)
        content.ClearField("float_val")
        content.tensor_content = np.array([step * 0.5], "<f4").tobytes()
        several = scalar_pb("content", 0.0)
        several.value[0].tensor.CopyFrom(content)
        several.value.add(tag="plain", simple_value=step)
        several.value.add(tag="vector", tensor=make_tensor_proto(np.array([1.0, 2.0])))
        writer.add_event(_event(step, several))
    writer.close()


def _event(step: int, summary: Summary) -> Event:
    return Event(wall_time=1.7e9 + step, step=step, summary=summary)


if __name__ == "__main__":
    main()
