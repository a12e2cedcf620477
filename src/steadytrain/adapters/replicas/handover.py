"""What a replica gives to one that comes back: the whole state of a rank, as data and tensors.

torchft moves it, and asks for it and hands it out while nobody trains.
"""

from collections.abc import Mapping
from typing import Any

import torch

from steadytrain.errors import CheckpointError
from steadytrain.train.state import TrainingState, is_of_optimizer, layout, local


@torch.no_grad()
def pack(state: TrainingState) -> dict[str, Any]:
    """The state of this rank. Parameters and moments are the live ones, not copies.

    Buffers are copied: a forward pass may change them while they are being sent.
    """
    live = state.tensors()
    changing = state.buffers()
    return {
        "model": state.fingerprint(),
        "layout": layout(live),
        "tensors": {
            name: local(one).clone() if name in changing else local(one).detach()
            for name, one in live.items()
        },
        "leaves": state.leaves(),
        "optimizer_is_empty": state.optimizer_is_empty,
    }


@torch.no_grad()
def unpack(state: TrainingState, given: Mapping[str, Any]) -> None:
    """Put a state that another replica gave into the live tensors, in place.

    Raises:
        CheckpointError: it is of another model, sharded otherwise, or lacks a tensor.
    """
    if given["model"] != state.fingerprint():
        raise CheckpointError(
            f"the replicas of this run have another model (fingerprint {given['model'][:8]}, this "
            f"one's is {state.fingerprint()[:8]}): its gradients would be added to theirs. Build "
            "the same model in every replica."
        )
    if given["optimizer_is_empty"]:
        state.clear_optimizer_state()
    entries = given["layout"]
    state.make_optimizer_state(
        {name: one for name, one in entries.items() if is_of_optimizer(name)}
    )
    live = state.tensors()
    for name, tensor in live.items():
        found = given["tensors"].get(name)
        here = local(tensor.detach())
        if found is None or found.shape != here.shape:
            what = "lack it" if found is None else f"hold {list(found.shape)} of it"
            raise CheckpointError(
                f"the other replicas {what}: {name}, {list(here.shape)} on this rank. Give every "
                "replica the same model, optimizer and number of ranks."
            )
        here.copy_(found)
    state.load_leaves(given["leaves"])
