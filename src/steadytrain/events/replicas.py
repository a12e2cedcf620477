"""Facts about copies of one state: ranks that should hold the same bits, and whether they do."""

import msgspec

from steadytrain.events.kinds import Fact


class UnlikeReplicas(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of the state that is not the same on ranks that should hold the same.

    Attributes:
        part: "weights", "moments" (all that is no weight: moments, counters), or a tensor's name.
        digests: of each of these `ranks`, 16 hexadecimal digits.
    """

    part: str
    ranks: tuple[int, ...]
    digests: tuple[str, ...]


class ReplicasCompared(Fact, frozen=True):
    """Replicas of the state were compared to the bit, as they were after update `step`.

    Attributes:
        copies: replicas of each part of the state.
        digests: of rank 0's weights, and of the rest of its state.
        unlike: what is not the same everywhere; empty where all replicas agree.
    """

    attempt: int
    step: int
    copies: int
    digests: tuple[str, ...]
    unlike: tuple[UnlikeReplicas, ...] = ()
