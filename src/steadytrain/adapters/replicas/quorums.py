"""Asking torchft who takes part in the next update, until there is an answer."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchft import Manager

PATIENCE_SECONDS = 3600.0
"""How long a replica waits for enough others. torchft's 60 s end a survivor of a hang before the
hung one is found. Source: the time in which a job scheduler finds another machine; a guess."""

ASK_SECONDS = 30.0
"""One request. When the lighthouse dies torchft's manager answers nothing until this has passed,
even if the lighthouse has been started again. Source: half of torchft's own limit."""

ASK_AGAIN_SECONDS = 1.0
"""Between two requests, so that the first one has ended at the lighthouse too."""


def ask(
    manager: "Manager",
    *,
    patience_seconds: float,
    beat: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Begin an update: find out who takes part, and be healed if others are further.

    The lighthouse may die and be started again meanwhile. Every rank, same order.

    Args:
        beat: is called before each try. say: is told once that there is no answer.

    Raises:
        RuntimeError, TimeoutError: torchft's own, when patience has ended.
    """
    end = time.monotonic() + patience_seconds
    is_told = False
    while True:
        beat()
        try:
            manager.start_quorum(timeout=timedelta(seconds=min(ASK_SECONDS, patience_seconds)))
            return
        except (RuntimeError, TimeoutError) as error:  # all that torchft's client raises
            if time.monotonic() > end:
                raise
            if not is_told:
                say(f"step {manager.current_step()}: no quorum ({error}); asking again")
            is_told = True
        # It would raise the same again: torchft looks at the last answer before it asks.
        manager._quorum_future = None
        time.sleep(ASK_AGAIN_SECONDS)
