"""Inside the training process: measures and carries out, never decides. Needs torch."""

from steadytrain.train.branches import branch_step
from steadytrain.train.feed import Batch, DataOrder, Feed
from steadytrain.train.panel import Panel
from steadytrain.train.ranks import Ranks
from steadytrain.train.schedule import WarmupStableDecay, Waypoints
from steadytrain.train.session import Session

__all__ = [
    "Batch",
    "DataOrder",
    "Feed",
    "Panel",
    "Ranks",
    "Session",
    "WarmupStableDecay",
    "Waypoints",
    "branch_step",
]
