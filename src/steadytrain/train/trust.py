"""How far a checkpoint is to be trusted, by the journal alone.

candidate   saved, every byte hashed; nobody knows yet whether the run was well
healthy     the run trained on for a while after it with every signal in its band
proven      healthy, and loaded once: what came out of it was as on record
refused     damaged, or not as on record when it was loaded
"""

from pathlib import Path
from typing import Literal

from steadytrain.events import CheckpointRefused, CheckpointSaved, Event, RestoreVerified

Label = Literal["candidate", "healthy", "proven", "refused"]


class Trust:
    """Fed with every event, oldest first. Checkpoints go by the names of their folders."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}
        self._loaded: set[str] = set()
        self._refused: set[str] = set()

    def note(self, event: Event) -> None:
        match event:
            case CheckpointSaved():
                self._steps[Path(event.path).name] = event.step
            case CheckpointRefused():
                self._refused.add(Path(event.path).name)
            case RestoreVerified(differences=()):
                self._loaded.add(event.source)
                self._refused.discard(event.source)  # a disk that could not be read for a while

    def is_refused(self, name: str) -> bool:
        return name in self._refused

    def label(self, name: str, *, healthy_until: int) -> Label:
        """Of a checkpoint that was saved.

        Args:
            healthy_until: the judge's word now; an incident may take it back.
        """
        if name in self._refused:
            return "refused"
        if self._steps[name] > healthy_until:
            return "candidate"
        return "proven" if name in self._loaded else "healthy"
