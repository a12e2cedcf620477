"""A thread for each channel: takes what is due, sends it, writes down what came of it."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from steadytrain.tell.box import Box
from steadytrain.tell.channels.kinds import Channel
from steadytrain.tell.ledger import Ledger
from steadytrain.tell.message import Answer, Arrived, Message, Refused, TryAgain
from steadytrain.tell.notes import Note, Thread

LOOK_SECONDS = 0.5
"""Between two looks at what is due; a message that waits for its time needs no more precision."""


@dataclass(kw_only=True)
class Courier:
    """Carries the messages of one box. A service that is dead holds up nobody else.

    `blot` takes secrets out of whatever is printed or written.
    """

    channel: Channel
    box: Box
    ledger: Ledger
    blot: Callable[[str], str]
    clock: Callable[[], float] = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(
            target=self._carry, name=f"tell-{self.channel.name}", daemon=True
        )
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End it; a message under way gets so long to arrive."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_idle(self) -> bool:
        with self._lock:
            return self.box.is_empty

    def put(self, note: Note, thread: Thread) -> None:
        with self._lock:
            self.box.put(note, thread, self.clock())

    def step(self) -> bool:
        """Send one message, if one is due; whether one was."""
        with self._lock:
            message = self.box.due(self.clock())
            is_first = message is not None and self.box.is_first_try
        if message is None:
            return False
        if is_first:
            self.ledger.write(self.box.planned(message))
        answer = self._send(message)
        with self._lock:
            done = self.box.answered(answer, self.clock())
        if done is not None:
            self.ledger.write(done)
        self._say(message, answer, is_final=done is not None)
        return True

    def _carry(self) -> None:
        while not self._stopped.is_set():
            if not self.step():
                self._stopped.wait(LOOK_SECONDS)

    def _send(self, message: Message) -> Answer:
        answer = self.channel.send(message)
        match answer:
            case TryAgain():
                return TryAgain(
                    self.blot(answer.why), answer.after_seconds, answer.may_have_arrived
                )
            case Refused():
                return Refused(self.blot(answer.why))
        return answer

    def _say(self, message: Message, answer: Answer, *, is_final: bool) -> None:
        name, title = self.channel.name, message.headline
        match answer:
            case Arrived():
                remark = f" ({self.blot(answer.remark)})" if answer.remark else ""
                _print(f"{name}: sent {title}{remark}", sys.stdout)
            case TryAgain() if not is_final:
                _print(f"{name}: not yet: {answer.why}", sys.stderr)
            case TryAgain() | Refused():
                _print(f"{name}: given up: {title}: {answer.why}", sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    # A log that is full, closed, or knows no Chinese is no reason to stop telling.
    with contextlib.suppress(OSError, ValueError):
        print(text, file=stream, flush=True)
