"""steadytrain watches a language model's pre-training, understands what goes wrong, and repairs it.

    from steadytrain import recipes
    from steadytrain.train import Session

This face needs numpy and msgspec, not torch; `steadytrain.train` is the training side.
"""

from steadytrain.errors import (
    CheckpointError,
    FeedError,
    JournalError,
    SettingError,
    SteadytrainError,
)
from steadytrain.judge.judge import Judge
from steadytrain.replay import replay
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
