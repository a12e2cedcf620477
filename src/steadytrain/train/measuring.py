"""A run's panel on one of its checkpoints, outside the run: the journal is read and not written."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from steadytrain import journal
from steadytrain.errors import CheckpointError, SettingError
from steadytrain.events import PanelDrawn, PanelRecord, RunBegan
from steadytrain.panels import FixedPanel
from steadytrain.train import dcp
from steadytrain.train.checkpoints import Checkpoints, checkpoints_in
from steadytrain.train.manifest import read_manifest
from steadytrain.train.panel import Losses, Panel
from steadytrain.train.ranks import Ranks
from steadytrain.train.retention import CheckpointRef
from steadytrain.train.state import TrainingState, layout

MODEL_OF = "model_of"
"""The function that is asked for where --model is left out, in the module of the data order."""


def measure(
    home: Path,
    checkpoint: str,
    *,
    model: str | None = None,
    device: str = "cpu",
    batch_size: int = 32,
) -> PanelRecord:
    """Evaluate the newest panel of a run on a checkpoint of it. One process.

    Args:
        checkpoint: name of the folder, or a step, of which the newest attempt is taken.
        model: "module:function"; function(home) gives the run's model, or a pair of it and of the
            `losses` that the run's `Panel` has. None: `model_of` of the module that the run's data
            order is from.

    Raises:
        SettingError: there is no such model, or the run keeps no panel.
        CheckpointError: there is no such checkpoint, or it is damaged or of another model.
        PanelError: the file of the panel is damaged.
    """
    home = Path(home)
    events = journal.load(home, "rank0")
    began = next((one for one in events if isinstance(one, RunBegan)), None)
    drawn = next((one for one in reversed(events) if isinstance(one, PanelDrawn)), None)
    if began is None or drawn is None or drawn.path is None:
        raise SettingError(
            f"{home} keeps no panel, so there is nothing to measure a checkpoint on. A run keeps "
            "it below panels/ when its Session is given panel=Panel(...)."
        )
    ref = _chosen(home, checkpoint)
    built, losses = _built(home, model, began)
    built.to(_device(device))
    _load(ref, built)
    panel = Panel(
        FixedPanel.read(home / drawn.path).arranged(began.domains),
        batch_size=batch_size,
        losses=losses,
    )
    return panel.evaluate(
        built,
        ranks=Ranks(),
        device=torch.device(device),
        attempt=ref.attempt,
        step=ref.step,
        beat=lambda: None,
        version=drawn.version,
        why=f"checkpoint {ref.path.name}",
    )


def _chosen(home: Path, checkpoint: str) -> CheckpointRef:
    found = checkpoints_in(home / "checkpoints")
    name = Path(checkpoint).name
    for ref in found:
        if ref.path.name == name or (name.isdecimal() and ref.step == int(name)):
            return ref
    known = ", ".join(ref.path.name for ref in found) or "none at all"
    raise CheckpointError(
        f"{home} has no checkpoint {checkpoint!r}, so there is nothing to measure. Write the name "
        f"or the step of one that it has: {known}."
    )


def _built(home: Path, model: str | None, began: RunBegan) -> tuple[nn.Module, Losses | None]:
    """What the function gave: a model, and how its losses are computed."""
    origin = began.order.partition(":")[0] if began.order else ""
    name = model or (f"{origin}:{MODEL_OF}" if origin else "")
    module, mark, function = name.partition(":")
    says = (
        "Write --model package.module:function, where function(home) returns the run's model with "
        "any weights"
    )
    if not mark or not module or not function:
        raise SettingError(
            f"nothing says how to build the model of {home}, and a checkpoint holds only its "
            f"weights. {says}."
        )
    sys.path.insert(0, str(Path.cwd()))
    try:
        make: Callable[[Path], Any] = getattr(importlib.import_module(module), function)
        made = make(home)
    except (ImportError, AttributeError, TypeError, ValueError, LookupError, OSError) as error:
        raise SettingError(f"{name} gives no model ({error}). {says}.") from error
    finally:
        sys.path.pop(0)
    built, losses = made if isinstance(made, tuple) else (made, None)
    if not isinstance(built, nn.Module):
        raise SettingError(
            f"{name} gives a {type(built).__name__}, not a torch.nn.Module. {says}, or a pair of "
            "it and losses(model, batch)."
        )
    return built, losses


def _load(ref: CheckpointRef, model: nn.Module) -> None:
    """The model's own tensors of a checkpoint, every byte of which is compared first."""
    # Names and shapes need an optimizer; its state is neither made nor loaded.
    state = TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.0))
    Checkpoints(ref.path.parent, state).verify(ref.path)
    saved = read_manifest(ref.path)["tensors"]
    live = {name: one for name, one in state.tensors().items() if name.startswith("model.")}
    for name in sorted({one for one in saved if one.startswith("model.")} | live.keys()):
        here = layout({name: live[name]})[name] if name in live else None
        spelled = None if here is None else [list(here[0]), str(here[1]).removeprefix("torch.")]
        if saved.get(name) != spelled:
            raise CheckpointError(
                f"{ref.path} is of another model: {name} is {saved.get(name)} in it and {spelled} "
                "here. Let the function of --model build the model that the run began with."
            )
    with torch.no_grad():
        dcp.load_alone(live, ref.path)


def _device(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingError(
            f"--device {name} needs a GPU that this PyTorch can use, and it sees none. Write "
            "--device cpu."
        )
    return device
