"""Writes the golden tables with the tools themselves: csv/, lightning/, trainer_state/, jsonl/.

Made once, in an environment of its own, with lightning 2.6.6, transformers 5.23.0, torch 2.13.0,
accelerate, tensorboard 2.21.0 and numpy; run from the repository root:

    python tests/golden/logs/make_tables.py

The export of W&B is written by hand in its form: it needs an account.
"""

import csv
import json
import math
import shutil
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import CSVLogger
from tensorboard import program
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from transformers import Trainer, TrainingArguments

LOGS = Path(__file__).parent


def lightning(scratch: Path) -> None:
    logger = CSVLogger(save_dir=str(scratch), name="demo", version=0)
    for step in range(6):
        loss = math.nan if step == 3 else 4.0 - step / 8
        logger.log_metrics({"loss_step": loss, "epoch": step // 3}, step=step)
        if step % 3 == 2:
            logger.log_metrics({"loss_epoch": 3.5 - step / 16, "epoch": step // 3}, step=step)
            logger.save()
    logger.log_metrics({"loss_step": math.inf, "val/acc": 0.25, "epoch": 2}, step=4)
    logger.save()
    shutil.copy(scratch / "demo" / "version_0" / "metrics.csv", folder("lightning"))


def tensorboard_export(scratch: Path) -> None:
    writer = EventFileWriter(str(scratch / "events"))
    for step, value in enumerate((10.5, 9.25, math.nan, math.inf, 8.125)):
        point = Summary(value=[Summary.Value(tag="loss", simple_value=value)])
        writer.add_event(Event(wall_time=1.7e9 + step, step=10 * step, summary=point))
    writer.close()
    board = program.TensorBoard()
    board.configure(argv=["tensorboard", f"--logdir={scratch}", "--port=0", "--load_fast=false"])
    url = board.launch() + "data/plugin/scalars/scalars?tag=loss&run=events&format=csv"
    (folder("csv") / "tensorboard.csv").write_bytes(urllib.request.urlopen(url).read())


def numpy_table() -> None:
    rows = np.array([[1, 10.5], [2, math.nan], [3, 9.0]])
    np.savetxt(folder("csv") / "savetxt.txt", rows, header="step loss")


def csv_tables() -> None:
    with (folder("csv") / "plain.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["step", "train loss", "lr"])
        rows.writerows([[1, 10.8, 1e-4], [2, "nan", 2e-4], [3, "oops", 3e-4], [2, "-Infinity", ""]])
    with (folder("csv") / "wandb.csv").open("w", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_ALL)
        rows.writerow(["Step", *[f"demo - loss{end}" for end in ("", "__MIN", "__MAX")]])
        rows.writerows([[0, 10.8, 10.8, 10.8], [1, 10.1, 10.0, 10.2], [2, "", "", ""]])
        rows.writerow([3, "NaN", "NaN", "NaN"])


class Line(torch.nn.Module):
    """The smallest model that the Trainer takes: one weight, and a loss that may be NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.weight * x).square().mean()}


def trainer_state(scratch: Path, name: str, *, nan_filter: bool) -> None:
    settings = TrainingArguments(
        output_dir=str(scratch / name),
        per_device_train_batch_size=1,
        max_steps=4,
        logging_steps=1,
        save_steps=2,
        eval_strategy="steps",
        eval_steps=4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        data_seed=0,
        learning_rate=0.125,
        logging_nan_inf_filter=nan_filter,
        max_grad_norm=1.0,
        label_names=["x"],
    )
    rows = [{"x": torch.tensor(x)} for x in (1.0, 0.5, math.nan, 0.25)]
    trainer = Trainer(model=Line(), args=settings, train_dataset=rows, eval_dataset=rows[:2])
    trainer.train()
    for number in (2, 4):
        here = folder(f"trainer_state/{name}/checkpoint-{number}")
        shutil.copy(scratch / name / here.name / "trainer_state.json", here)
        hide_paths(here / "trainer_state.json")


def hide_paths(path: Path) -> None:
    state = json.loads(path.read_text())
    if state["best_model_checkpoint"] is not None:
        state["best_model_checkpoint"] = Path(state["best_model_checkpoint"]).name
        path.write_text(json.dumps(state, indent=2, sort_keys=True) + "\n")


def json_lines() -> None:
    rows = [
        {"step": 1, "metrics": {"loss": 10.8, "lr": 1e-4}, "done": False, "note": "warmup"},
        {"step": 2, "metrics": {"loss": math.nan, "lr": 2e-4}},
        {"step": 3, "metrics": {"loss": -math.inf, "lr": None}, "grad_norm": "NaN"},
        {"step": 2, "metrics": {"loss": 7, "lr": 4e-4}, "grad_norm": {"float": "inf"}},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder("jsonl") / "nested.jsonl").write_text(text)
    (folder("jsonl") / "array.json").write_text(json.dumps(rows, indent=1) + "\n")


def folder(name: str) -> Path:
    there = LOGS / name
    there.mkdir(parents=True, exist_ok=True)
    return there


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        lightning(scratch)
        tensorboard_export(scratch)
        trainer_state(scratch, "filtered", nan_filter=True)
        trainer_state(scratch, "unfiltered", nan_filter=False)
    numpy_table()
    csv_tables()
    json_lines()


if __name__ == "__main__":
    main()
