"""PyTorch's distributed checkpoint (DCP), in words that every torch from 2.6 on understands."""

import warnings
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.storage import StorageWriter


def save(
    tensors: dict[str, Tensor], writer: StorageWriter, group: dist.ProcessGroup | None
) -> None:
    """Save through `writer`, with all ranks of the group, or alone."""
    state_dict_saver.save(
        tensors,
        storage_writer=writer,
        process_group=group,
        **_alone(state_dict_saver.save, group),
    )


def load(tensors: dict[str, Tensor], path: Path, group: dist.ProcessGroup | None = None) -> None:
    """Load into the tensors, in place, with all ranks of the group, or alone."""
    state_dict_loader.load(
        tensors,
        storage_reader=FileSystemReader(path),
        process_group=group,
        **_alone(state_dict_loader.load, group),
    )


def load_alone(tensors: dict[str, Tensor], path: Path) -> None:
    """Load into the tensors, in place, in a process that is no rank of a run."""
    with warnings.catch_warnings():
        permit_one_rank()
        load(tensors, path)


def permit_one_rank() -> None:
    """DCP warns whenever one rank saves or loads alone, which is what is meant here."""
    warnings.filterwarnings("ignore", message="torch.distributed is (disabled, )?unavailable")


def _alone(call: Callable[..., Any], group: dist.ProcessGroup | None) -> dict[str, bool]:
    """torch 2.6 has no `no_dist`: it looks for a process group itself."""
    return {"no_dist": group is None} if "no_dist" in signature(call).parameters else {}
