"""Own work told from waiting, inside a forward pass that begins with a collective."""

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from steadytrain.progress import Beacon, Phase


def mark_own_work(model: nn.Module, beacon: Beacon) -> None:
    """Let the board know when DistributedDataParallel waits for its peers before it computes.

    It broadcasts the model's buffers there, if it has any (a RoPE cache is one). Without this mark
    a slow rank would look like the others, which wait for it inside their own forward passes.
    FSDP gathers in every layer, so there no part of a forward pass is a rank's own.
    """
    if not isinstance(model, DistributedDataParallel) or not model.broadcast_buffers:
        return
    if next(model.module.buffers(), None) is None:
        return
    if getattr(model.module, "_compiled_call_impl", None) is not None:
        return  # a hook would be traced into its graph
    if type(model.module).__name__ == "OptimizedModule":
        return
    model.register_forward_pre_hook(lambda module, inputs: _turn(beacon, "forward", "sync"))
    model.module.register_forward_pre_hook(lambda module, inputs: _turn(beacon, "sync", "forward"))


def _turn(beacon: Beacon, before: Phase, now: Phase) -> None:
    """Only in a training step: a look at the panel is in a phase of its own."""
    if beacon.phase == before:
        beacon.beat(now)
