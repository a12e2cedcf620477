"""Whose an object store's folder is: one run's, and of it one life's, or two would mix there."""

import json
import uuid
from pathlib import Path

import xxhash

from steadytrain import journal
from steadytrain.errors import CheckpointError
from steadytrain.train.store import JOURNAL, RUN, Store


class Claim:
    """This life's, once it is made. Errors beside its own are the store's, of whatever class.

    Attributes:
        is_held: it was made, and nobody is known to have overtaken it.
        reason_to_stop: why nothing may be written any more.
        sent: file of the journal -> bytes of it that are there.
    """

    def __init__(self, store: Store, home: Path) -> None:
        self.is_held = False
        self.reason_to_stop: str | None = None
        self.sent: dict[str, int] = {}
        self._store = store
        self._home = home
        self._token = uuid.uuid4().hex

    def make(self) -> None:
        """Make it, if it is not made: what another life or run does there is refused from now.

        Raises:
            CheckpointError: another run is there, or this one has gone on elsewhere.
        """
        if self.reason_to_stop is not None:
            raise CheckpointError(self.reason_to_stop)
        if self.is_held:
            return
        found, mine = self._store.read_run(), self._identity()
        if found is not None and found["run"] != mine:
            self._stop(
                f"{self._store.url} holds another run ({found['name']!r}), which would be "
                "overwritten. Write another URL"
            )
        self._compare_journal()
        words = {"format": 1, "run": mine, "name": self._home.name, "life": self._token}
        self._store.put_bytes(json.dumps(words).encode(), RUN)
        self.is_held = True

    def insist(self) -> None:
        """Look again.

        Raises:
            CheckpointError: another life has made it since.
        """
        found = self._store.read_run()
        if found is None or found["life"] != self._token:
            self._stop(
                f"another process writes to {self._store.url} now, so this one does not any more. "
                "Let one of them write to another URL"
            )

    def _stop(self, reason: str) -> None:
        self.is_held, self.reason_to_stop = False, reason
        raise CheckpointError(reason)

    def _identity(self) -> str:
        """Of the run: its first line, which no other run has, since it holds the time."""
        with open(journal.files(self._home, "rank0")[0], "rb") as file:
            return xxhash.xxh3_128_hexdigest(file.readline())

    def _compare_journal(self) -> None:
        for name, pieces in self._store.pieces().items():
            path = self._home / JOURNAL / name
            for begin, end, digest in pieces:
                body = b""
                if path.exists():
                    with open(path, "rb") as file:
                        file.seek(begin)
                        body = file.read(end - begin)
                if xxhash.xxh3_128_hexdigest(body) != digest:
                    self._stop(
                        f"the run has gone on from {self._store.url} in another home: {name} is "
                        "longer or another there, and two ends of one run cannot be told apart. "
                        "Go on there; or write another URL"
                    )
                self.sent[name] = max(end, self.sent.get(name, 0))
