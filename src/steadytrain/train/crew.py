"""The ranks that write or read one checkpoint together: all succeed, or all know why not."""

import errno
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from steadytrain.errors import CheckpointError

T = TypeVar("T")


class Crew:
    """The ranks that write or read one checkpoint together; one rank is a crew of one."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group = group
        self.rank = dist.get_rank(group) if group is not None else 0
        self.world = dist.get_world_size(group) if group is not None else 1

    def together(self, work: Callable[[], T]) -> list[T]:
        """Work on every rank, everyone's results to all. Every rank, same order.

        Raises:
            CheckpointError: on all ranks, if the work of any of them failed.
        """
        if self.group is None:
            return [work()]
        result: tuple[T | None, str | None]
        try:
            result = work(), None
        except BaseException as error:  # else the other ranks would wait for this one
            result = None, f"rank {self._guilty(error)}: {explain(error)}"
        box: list[Any] = [None] * self.world
        dist.all_gather_object(box, result, group=self.group)
        for _, failure in box:
            if failure is not None:
                raise CheckpointError(failure)
        return [outcome for outcome, _ in box]

    def _guilty(self, error: BaseException) -> int:
        """DCP raises on all ranks what one of them met."""
        if isinstance(error, CheckpointException) and error.failures:
            return int(min(error.failures))
        return self.rank


def explain(error: BaseException) -> str:
    """What went wrong, in words for the journal."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({cause}). Free some space"
    if isinstance(cause, OSError) and cause.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"the folder cannot be written ({cause}). Let this user write there"
    if isinstance(error, CheckpointError):
        return str(error)
    if isinstance(error, RuntimeError) and "unexpected pos" in str(error):
        # torch's zip writer; the OSError beneath does not survive the way from another rank.
        return f"a file could not be written to its end, as on a full disk ({error})"
    return f"{type(error).__name__}: {error}"
