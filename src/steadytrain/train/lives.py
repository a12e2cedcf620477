"""Lives of a run's processes: a state that leads to the same death is not loaded for ever.

A state can be sound to the byte and still be bad: a corrupt moment was copied as it was, and three
updates later the loss is NaN (Megatron-LM #5281: 44 restarts into the same corrupt replica).
"""

from steadytrain.events import AttemptBegan, Event, StepRecord


class Lives:
    """Fed with every event, oldest first; a rollback does not begin another process."""

    def __init__(self) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []

    def note(self, event: Event) -> None:
        match event:
            case AttemptBegan(cause="start" | "restart"):
                self._begins.append(event.step)
                self._ends.append(event.step)
            case AttemptBegan() | StepRecord() if self._ends:
                self._ends[-1] = event.step

    def ceiling(self) -> int | None:
        """States after this step were tried: lives that began from them ended where the one before
        had ended, at the same update. None if that is not so.

        A kill from outside hits the same update twice by chance, once in many; then an older state
        costs a few updates and nothing else.
        """
        found: int | None = None
        for at in range(len(self._ends) - 1, 0, -1):
            if self._ends[at] != self._ends[at - 1]:
                break
            begin = self._begins[at] - 1
            found = begin if found is None else min(found, begin)
        return found
