"""What a text is: the answer of the lint, and the sentence that goes with it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a text is.

    Attributes:
        verdict: "clean", "unusual" (odd, never called corrupt) or "corrupt".
        kind: of a corrupt text: blank, garbled, encoded, repetition, markup, wrong_domain.
        confidence: 0 to 1.
        offsets: [start, end) spans of characters where it shows.
        evidence: one sentence with the measured number.
        repair: the text as it probably was, where that can be told.
    """

    verdict: str
    kind: str | None = None
    confidence: float = 1.0
    offsets: tuple[tuple[int, int], ...] = ()
    evidence: str = ""
    repair: str | None = None


CLEAN = Verdict(verdict="clean")


def corrupt(
    kind: str,
    confidence: float,
    offsets: tuple[tuple[int, int], ...],
    evidence: str,
    repair: str | None = None,
) -> Verdict:
    """A corrupt text."""
    return Verdict(
        verdict="corrupt", kind=kind, confidence=confidence, offsets=offsets, evidence=evidence,
        repair=repair,
    )  # fmt: skip


def unusual(evidence: str, offsets: tuple[tuple[int, int], ...] = ()) -> Verdict:
    """An odd text that nobody should throw away for it."""
    return Verdict(verdict="unusual", confidence=0.5, offsets=offsets, evidence=evidence)
