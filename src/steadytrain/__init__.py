"""steadytrain watches a language model's pre-training, understands what goes wrong, and repairs it.

    from steadytrain import recipes
    from steadytrain.train import Session

This face needs numpy and msgspec, not torch; `steadytrain.train` is the training side. What it
shows is loaded when it is first asked for: a command that only reads needs no judge.
"""

import importlib
from typing import TYPE_CHECKING, Any

from steadytrain.errors import (
    CheckpointError,
    FeedError,
    JournalError,
    SettingError,
    SteadytrainError,
)

if TYPE_CHECKING:
    from steadytrain.judge.judge import Judge
    from steadytrain.replaying import replay
    from steadytrain.watch import Finding, Watch

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "FeedError",
    "Finding",
    "JournalError",
    "Judge",
    "SettingError",
    "SteadytrainError",
    "Watch",
    "__version__",
    "replay",
]

_FROM = {
    "Finding": "steadytrain.watch",
    "Judge": "steadytrain.judge.judge",
    "Watch": "steadytrain.watch",
    "replay": "steadytrain.replaying",
}


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_FROM[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM})
