"""The fixed panel over the steps: perplexity with its interval, what was foretold, why it moved."""

import math
from typing import Any

from steadytrain.board.lane import Places
from steadytrain.board.watched import Watched
from steadytrain.events import AttemptBegan, PanelDrawn, PanelRecord, Trend
from steadytrain.perplexity import Looks
from steadytrain.phrases import phrase
from steadytrain.sayings import say, translated
from steadytrain.stats.paired import interval

MOST_LOOKS = 2_000


def looks(one: Watched, lang: str) -> dict[str, Any]:
    """Looks of the surviving branch, one entry per domain; those that were given up apart."""
    places = Places(one)
    kept: list[tuple[PanelRecord, dict[str, Any]]] = []
    lost: list[tuple[PanelRecord, dict[str, Any]]] = []
    panels, drawn, trends = [], [], []
    for noted in one.events:
        event = noted.event
        match event:
            case AttemptBegan():
                lost += [look for look in kept if look[0].step > event.step]
                kept = [look for look in kept if look[0].step <= event.step]
            case PanelRecord():
                kept = [look for look in kept if look[0].step != event.step] + [
                    (event, places.of(event.step, noted.at))
                ]
            case PanelDrawn():
                panels.append(event)
                drawn.append(_drawn(event, places.of(event.step, noted.at), lang))
            case Trend():
                trends.append(_trend(event, places.of(event.step, noted.at), lang))
    thinned = _thinned(kept)
    known = Looks(run=one.id, domains=tuple(one.track.domains), drawn=tuple(panels))
    return {
        "domains": [
            {
                "name": name,
                "looks": [_look(one, known, at, place, look, lang) for look, place in thinned],
            }
            for at, name in enumerate(one.track.domains)
        ],
        "lost": [
            {"x": look.step, "time": place["time"], "tokens": place["tokens"],
             "ppl": [_perplexity(n, t) for n, t in zip(look.nll, look.tokens, strict=True)]}
            for look, place in lost
        ],
        "panels": drawn,
        "trends": trends,
        "count": len(kept),
    }  # fmt: skip


def _look(
    one: Watched, known: Looks, at: int, place: dict[str, Any], look: PanelRecord, lang: str
) -> dict[str, Any]:
    """One domain at one step; kept, since a look never changes."""
    key = f"look:{look.attempt}:{look.step}:{look.version}:{at}"
    was = one.kept.get(key)
    if was is None:
        was = (0, _measured(known, look, at))
        one.kept[key] = was
    assert isinstance(was[1], dict)
    return {**place, **was[1], "why": say(look.why, lang)}


def _measured(known: Looks, look: PanelRecord, at: int) -> dict[str, Any]:
    losses = look.losses[at] if at < len(look.losses) else ()
    fit = [number for number, loss in enumerate(losses) if math.isfinite(loss)]
    told: dict[str, Any] = {
        "version": look.version, "odd": len(losses) - len(fit),
        "n": len(losses), "loss": None, "ppl": None, "low": None, "high": None, "bits": None,
    }  # fmt: skip
    if fit:
        lengths = known.lengths(look, at)
        found = interval(
            [losses[number] for number in fit],
            None if lengths is None else [lengths[number] for number in fit],
        )
        told |= {
            "loss": found.loss,
            "ppl": _capped(found.loss),
            "low": _capped(found.loss - found.half),
            "high": _capped(found.loss + found.half),
            "weak": found.is_too_weak,
            "needed": found.needed(),
        }
        if look.bytes[at] and math.isfinite(look.nll[at]):
            told["bits"] = look.nll[at] / (math.log(2) * look.bytes[at])
    return told


def _thinned(kept: list[Any]) -> list[Any]:
    if len(kept) <= MOST_LOOKS:
        return kept
    stride = -(-len(kept) // MOST_LOOKS)
    return [*kept[:-1:stride], kept[-1]]


def _drawn(event: PanelDrawn, place: dict[str, float], lang: str) -> dict[str, Any]:
    event = translated(event, lang)
    return {
        **place,
        "version": event.version,
        "why": event.why,
        "digest": event.digest,
        "tokenizer": event.tokenizer,
        "sequences": [len(one) for one in event.lengths],
        "notes": list(event.notes),
        "origin": event.origin,
    }


def _trend(event: Trend, place: dict[str, float], lang: str) -> dict[str, Any]:
    event = translated(event, lang)
    return {
        **place,
        "id": event.id,
        "state": event.state,
        "words": phrase(event.pattern, lang),
        "domains": list(event.domains),
        "begun": event.begun,
        "is_expected": event.is_expected,
        "for": list(event.evidence),
        "against": list(event.against),
        "expected": event.expected,
        "due": event.due,
        "refuted_by": event.refuted_by,
        "moves": [
            {
                "domain": move.domain, "since": move.since,
                "before": _capped(move.before), "now": _capped(move.now),
                "percent": _percent(move.change), "low": _percent(move.low),
                "high": _percent(move.high),
                "expected": None if move.expected is None else _capped(move.expected),
            }
            for move in event.moves
        ],
    }  # fmt: skip


def _percent(change: float) -> float | None:
    return 100 * math.expm1(change) if math.isfinite(change) and change < 50 else None


def _perplexity(nll: float, tokens: int) -> float | None:
    return _capped(nll / tokens) if tokens else None


def _capped(loss: float) -> float | None:
    """Perplexity; None where no number can say it. [e^50 is 5e21]"""
    return math.exp(loss) if math.isfinite(loss) and abs(loss) < 50 else None
