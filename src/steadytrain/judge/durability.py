"""How much work a death would lose: the newest durable checkpoint's age, against its usual one.

A failed save stops no training, so without this one could fail for weeks and nobody would hear
(pytorch's asynchronous saver fails for ever once its daemon has died; Megatron-LM #1435).
"""

import msgspec

from steadytrain.events import Advice, CheckpointFailed, CheckpointSaved
from steadytrain.judge.state import Durability

TOPIC = "no durable checkpoint"

REMEMBERED = 4
"""Saves from whose distance the usual interval is taken."""

LATE = 2.0
"""Usual intervals without a durable checkpoint that are told when saves fail; three when nothing is
heard of them at all, as from a disk that hangs: the slowest save is waited for first. Source: a
save that fails once is made up for by the next one; then the age is just below two intervals."""

SILENT = 3.0


Told = tuple[Durability, tuple[Advice, ...]]


def begin_life(state: Durability, step: int, *, is_restart: bool) -> Durability:
    """What was saved later than `step` is not on this branch; a new process may save at another
    interval."""
    return msgspec.structs.replace(
        state,
        saved=None if state.saved is None else min(state.saved, step),
        asked=() if is_restart else tuple(one for one in state.asked if one <= step),
    )


def account(state: Durability, event: CheckpointSaved | CheckpointFailed) -> Told:
    """A save has ended, well or not."""
    asked = (*[one for one in state.asked if one < event.step], event.step)[-REMEMBERED:]
    if isinstance(event, CheckpointFailed):
        failures = state.failures + 1
        changed = {"asked": asked, "failures": failures, "reason": event.reason}
        return msgspec.structs.replace(state, **changed), ()
    told: tuple[Advice, ...] = ()
    if state.told is not None:
        text = f"A checkpoint is durable again, after step {event.step}."
        told = (Advice(topic=TOPIC, text=text),)
    return Durability(saved=event.step, asked=asked), told


def watch(state: Durability, step: int) -> Told:
    """After every step: say it when the newest durable checkpoint has become too old, and again
    whenever its age has doubled."""
    every = state.every
    if every is None:
        return state, ()
    age = step - (state.saved or 0)
    is_late = state.failures > 1 and age >= LATE * every
    is_silent = age >= SILENT * every
    if not (is_late or is_silent) or (state.told is not None and age < 2 * state.told):
        return state, ()
    why = (
        f"{state.failures} saves in a row have failed, the last one because {state.reason}."
        if state.failures
        else "A save has begun and nothing was heard of it since: the disk may hang."
    )
    what = (
        f"The newest durable checkpoint is {age} steps old"
        if state.saved is not None
        else f"No checkpoint has become durable in {age} steps"
    )
    text = (
        f"{what} at step {step}, as a rule one comes every {every}. A lost machine would lose "
        f"them. {why}"
    )
    return msgspec.structs.replace(state, told=age), (Advice(topic=TOPIC, text=text),)
