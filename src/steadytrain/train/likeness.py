"""Are two checkpoints the same, bit for bit? Read from the disk, one tensor at a time."""

from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from steadytrain.train import dcp
from steadytrain.train.manifest import read_manifest


def compare(ours: Path, theirs: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names that differ between two checkpoints, and names of tensors of ours that are not finite.

    Parameters, optimizer state, what the guard has learned, and settings such as the learning rate.
    Not the random states: a generator that nobody seeds and nobody draws from may be any, and one
    that is drawn from shows in the rest. Different numbers of ranks may have written the two.

    Raises:
        CheckpointError: a manifest is missing or damaged.
    """
    first, second = read_manifest(ours), read_manifest(theirs)
    differing = [
        f"settings of {name}"
        for name in sorted(first["leaves"].keys() | second["leaves"].keys())
        if first["leaves"].get(name) != second["leaves"].get(name)
    ]
    entries, others = _entries(ours), _entries(theirs)
    unsound = []
    for name in sorted(entries.keys() | others.keys()):
        if name not in entries or name not in others:
            differing.append(name)
            continue
        tensor = _load(ours, name, entries[name])
        if not torch.equal(_bits(tensor), _bits(_load(theirs, name, others[name]))):
            differing.append(name)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            unsound.append(name)
    return tuple(differing), tuple(unsound)


def _entries(path: Path) -> dict[str, TensorStorageMetadata]:
    found = FileSystemReader(path).read_metadata().state_dict_metadata
    return {
        name: one
        for name, one in found.items()
        if isinstance(one, TensorStorageMetadata) and not name.startswith("rng.")
    }


def _load(path: Path, name: str, entry: TensorStorageMetadata) -> Tensor:
    tensor = torch.empty(entry.size, dtype=entry.properties.dtype)
    dcp.load_alone({name: tensor}, path)
    return tensor


def _bits(tensor: Tensor) -> Tensor:
    """A NaN equals itself here, and -0.0 does not equal 0.0."""
    return tensor.contiguous().view(-1).view(torch.uint8)
