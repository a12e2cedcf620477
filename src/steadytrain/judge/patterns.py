"""Why a panel moves: patterns, each with the evidence that must be there, in the order of `causes`.

A pattern is named only where its evidence was seen; where none is, "not known" is said.
"""

import math

from steadytrain import causes
from steadytrain.judge.looks import Happening
from steadytrain.judge.situation import Domain, Explanation, Situation

CLEAR = 2.0
"""A domain is off its curve from here on, where another one has rung. [standard deviations]"""

FELL, ROSE = 0.8, 1.25
"""Factors of a share that starve a domain or feed it; the least that is heard of."""

STEEPER = math.log(1.3)
"""Gradient norms up by so much, and by 3 of their own deviations, are up. Source: guess."""

ONE_SIDED = 0.5
"""A panel that fell is beside its training where that fell by less than this share of it."""

FEW_LOOKS = 4
"""An expectation is settled after so many looks, where nothing says another time: two for the
movement and two that show it lasts. [looks]"""


def explain(now: Situation) -> tuple[Explanation, ...]:
    """Explanations of the domains that rang, one for each pattern that fits any of them."""
    found: list[Explanation] = []
    left = {one.name for one in now.domains if one.rung}
    for pattern in causes.PATTERNS:
        rule = _RULES.get(pattern)
        ringing = tuple(one for one in now.domains if one.name in left)
        if rule is None or not ringing:
            continue
        told = rule(now, ringing)
        if told is not None:
            found.append(told)
            left -= set(told.about)
    return tuple(found)


def unknown(now: Situation, domain: Domain) -> Explanation:
    """What rang and fits nothing, with what was ruled out."""
    shares = f"its share of the tokens is {domain.share_after:.0%}, as before"
    if domain.share is not None:
        shares = _share_words(domain)
    rate = "the learning rate did not turn" if now.lr is None else _rate_words(now.lr)
    texts = "its texts are as usual"
    if domain.corrupt is not None:
        texts = _corrupt_words(domain.corrupt, domain.name)
    return Explanation(
        pattern=causes.NOT_KNOWN,
        about=(domain.name,),
        begun=domain.move.since,
        is_expected=False,
        evidence=(move_words(domain), "no pattern fits", shares, rate, texts),
    )


def harder(now: Situation, domain: Domain) -> Explanation:
    """The updates of a domain were harder, and the panel did not move."""
    assert domain.trained is not None
    excess, error = domain.trained
    return Explanation(
        pattern=causes.HARDER_BATCHES,
        about=(domain.name,),
        begun=now.step - 2 * now.gap,
        is_expected=True,
        evidence=(
            f"training loss of {domain.name} {excess:+.3f} nats against before (+-{error:.3f})",
            f"its panel is {domain.z:+.1f} sigma from its curve: flat",
        ),
        expected=f"the panel of {domain.name} stays on its curve",
        due=now.step + FEW_LOOKS * now.gap,
        refuted_by=f"the panel of {domain.name} leaves its curve",
    )


def move_words(domain: Domain) -> str:
    """`zh +0.059 nats (+0.040 to +0.078) against step 1200, +4.4 sigma from its curve`."""
    move = domain.move
    return (
        f"{domain.name} {move.change:+.3f} nats ({move.low:+.3f} to {move.high:+.3f}) against step "
        f"{move.since}, {domain.z:+.1f} sigma from its curve"
    )


def _leaked(now: Situation, ringing: tuple[Domain, ...]) -> Explanation | None:
    """Down, and text of the panel was read; or down beside its training with no reason to be."""
    fell = [one for one in ringing if one.rung == "drop" and one.is_trained]
    read = [one for one in fell if one.leaked is not None]
    alone = [one for one in fell if one.leaked is None and _is_beside(now, one)]
    about = read or (alone if len(alone) == 1 and len(now.trained) > 1 else [])
    if not about:
        return None
    evidence = [move_words(one) for one in about]
    against = []
    for one in about:
        if one.leaked is not None:
            evidence.append(
                f"since update {one.leaked.step} {one.leaked.after:.0%} of the sequences of "
                f"{one.name} hold text of the panel, before {one.leaked.before:.2%}"
            )
        else:
            evidence.append(f"its share of the tokens is {one.share_after:.0%}, as before")
            against.append("no text of the panel was seen in the training data")
        if one.trained is not None:
            excess, error = one.trained
            evidence.append(
                f"its training loss moved by {excess:+.3f} nats (+-{error:.3f}), its panel "
                f"by {_excess(one):+.3f} against its curve"
            )
    names = _names(about)
    return Explanation(
        pattern=causes.LEAKED,
        about=tuple(one.name for one in about),
        begun=min(one.leaked.step if one.leaked else one.move.since for one in about),
        is_expected=False,
        evidence=tuple(evidence),
        against=tuple(against),
        expected=f"the panel of {names} stays below its curve; it measures nothing any more",
        due=now.step + FEW_LOOKS * now.gap,
        refuted_by=f"the panel of {names} comes back to its curve, or other text of {names} that "
        "the run has never seen gained as much",
    )


def _is_beside(now: Situation, one: Domain) -> bool:
    """The panel fell, nothing explains it, and its training did not fall with it."""
    if now.lr is not None or one.share is not None or one.is_new or one.trained is None:
        return False
    if now.looks < 2 or any(other.share is not None for other in now.domains):
        return False
    fell = _excess(one)
    excess, error = one.trained
    if now.reads_leaks:
        # It was looked for and not found: then the gap itself has to be proved.
        return (excess - fell) > 3 * error
    return excess > ONE_SIDED * fell


def _corrupt_source(now: Situation, ringing: tuple[Domain, ...]) -> Explanation | None:
    """Up, and its texts are not as usual."""
    about = [one for one in ringing if one.rung == "rise" and one.corrupt is not None]
    if not about:
        return None
    evidence, against = [], []
    for one in about:
        assert one.corrupt is not None
        evidence += [move_words(one), _corrupt_words(one.corrupt, one.name)]
        if one.share is not None:
            against.append(_share_words(one))
    names = _names(about)
    return Explanation(
        pattern=causes.CORRUPT_SOURCE,
        about=tuple(one.name for one in about),
        begun=min(one.corrupt.step for one in about if one.corrupt is not None),
        is_expected=False,
        evidence=tuple(evidence),
        against=tuple(against),
        expected=f"{names} stays above its curve while such texts come",
        due=now.step + FEW_LOOKS * now.gap,
        refuted_by=f"{names} comes back to its curve while such texts still come",
    )


def _stability_gap(now: Situation, ringing: tuple[Domain, ...]) -> Explanation | None:
    """What was known is up, and a new domain falls steeply."""
    new = [one for one in now.domains if one.is_new and one.is_trained]
    learned = [one for one in new if one.z <= -CLEAR]
    if not learned or not any(one.rung == "rise" and not one.is_new for one in ringing):
        return None
    about = [one for one in now.domains if not one.is_new and one.z >= CLEAR]
    begun = min(one.share.step if one.share else one.move.since for one in new)
    evidence = [move_words(one) for one in (*about, *learned)]
    evidence += [_share_words(one) for one in new]
    against = []
    if now.lr is not None and now.lr.kind == "lr up":
        against.append(
            f"{_rate_words(now.lr)}: of the rise, a part is the rate's alone (a third in a "
            "small model)"
        )
    due = _turn_due(now, begun)
    names = _names(about)
    return Explanation(
        pattern=causes.STABILITY_GAP,
        about=tuple(one.name for one in about),
        begun=begun,
        is_expected=True,
        evidence=tuple(evidence),
        against=tuple(against),
        expected=f"{names} turns and falls again by step {due}, while {_names(new)} falls on",
        due=due,
        refuted_by=f"{names} still rises at step {due}",
    )


def _starved(now: Situation, ringing: tuple[Domain, ...]) -> Explanation | None:
    """Up, and its realised share of the tokens fell; the others are not up with it."""
    about = [one for one in ringing if one.rung == "rise" and one.share_ratio <= FELL]
    about = [one for one in about if one.share is not None]
    fed = [one for one in now.trained if one.share_ratio > FELL]
    if not about or any(one.z >= CLEAR for one in fed):
        return None
    names = _names(about)
    lost = [math.log(one.share_ratio) for one in about if one.share_ratio > 0]
    slope = [
        f"d loss / d ln(share) of {one.name} is {_excess(one) / math.log(one.share_ratio):+.3f} "
        "so far"
        for one in about
        if one.share_ratio > 0
    ]
    assert len(lost) == len(slope)
    return Explanation(
        pattern=causes.STARVED,
        about=tuple(one.name for one in about),
        begun=min(one.share.step for one in about if one.share is not None),
        is_expected=True,
        evidence=(
            *(words for one in about for words in (move_words(one), _share_words(one))),
            *(f"{one.name} is not up: {one.z:+.1f} sigma" for one in fed),
            *slope,
        ),
        expected=f"{names} stays above its curve for as long as its share is what it is",
        due=now.step + FEW_LOOKS * now.gap,
        refuted_by=f"{names} comes back to its curve at this share",
    )


def _learning(now: Situation, ringing: tuple[Domain, ...]) -> Explanation | None:
    """Down faster than its curve, and it is new or its share rose."""
    about = [
        one
        for one in ringing
        if one.rung == "drop"
        and one.is_trained
        and (one.is_new or (one.share is not None and one.share_ratio >= ROSE))
    ]
    if not about:
        return None
    names = _names(about)
    return Explanation(
        pattern=causes.LEARNING,
        about=tuple(one.name for one in about),
        begun=min(one.share.step if one.share else one.move.since for one in about),
        is_expected=True,
        evidence=tuple(words for one in about for words in (move_words(one), _share_words(one))),
        expected=f"{names} stays below its old curve",
        due=now.step + FEW_LOOKS * now.gap,
        refuted_by=f"{names} comes back to its old curve at this share",
    )


def _rewarm(now: Situation, ringing: tuple[Domain, ...]) -> Explanation | None:
    """All domains that are trained on are up together, after the learning rate rose."""
    if now.lr is None or now.lr.kind != "lr up" or not now.trained:
        return None
    rang = any(one.rung == "rise" and one.is_trained for one in ringing)
    distances = [one.z for one in now.trained]
    if not rang or min(distances) <= 0.5 or sum(distances) / len(distances) < CLEAR:
        return None
    due = _turn_due(now, now.lr.step)
    others = [one for one in now.domains if not one.is_trained]
    return Explanation(
        pattern=causes.REWARM,
        about=tuple(one.name for one in now.trained),
        begun=now.lr.step,
        is_expected=True,
        evidence=(_rate_words(now.lr), *(move_words(one) for one in now.trained)),
        against=tuple(f"{move_words(one)}, and is not trained on" for one in others),
        expected=f"{_names(now.trained)} turns and falls again by step {due}",
        due=due,
        refuted_by=f"{_names(now.trained)} still rises at step {due}",
    )


def _annealing(now: Situation, ringing: tuple[Domain, ...]) -> Explanation | None:
    """All domains that are trained on fall faster than before, while the learning rate falls."""
    if now.lr is None or now.lr.kind != "lr down" or not now.trained:
        return None
    rang = any(one.rung == "drop" and one.is_trained for one in ringing)
    distances = [one.z for one in now.trained]
    if not rang or max(distances) >= 0.5 or sum(distances) / len(distances) > -CLEAR:
        return None
    names = _names(now.trained)
    return Explanation(
        pattern=causes.ANNEALING,
        about=tuple(one.name for one in now.trained),
        begun=now.lr.step,
        is_expected=True,
        evidence=(_rate_words(now.lr), *(move_words(one) for one in now.trained)),
        expected=f"{names} stays below the old curve while the rate is low",
        due=now.step + FEW_LOOKS * now.gap,
        refuted_by=f"{names} comes back to the old curve while the rate is low",
    )


def _unstable(now: Situation, ringing: tuple[Domain, ...]) -> Explanation | None:
    """All domains that are trained on are up, gradient norms too, and nothing else happened."""
    if now.has_event or now.steeper is None or not now.trained:
        return None
    steeper, error = now.steeper
    is_up = all(one.z >= CLEAR for one in now.trained) and any(
        one.rung == "rise" for one in ringing
    )
    if not is_up or steeper < max(STEEPER, 3 * error):
        return None
    names = _names(now.trained)
    return Explanation(
        pattern=causes.UNSTABLE,
        about=tuple(one.name for one in now.trained),
        begun=now.trained[0].move.since,
        is_expected=False,
        evidence=(
            *(move_words(one) for one in now.trained),
            f"gradient norms x{math.exp(steeper):.2f} (+-{100 * error:.0f} %)",
            "the learning rate did not rise, shares and texts are as before: not the data",
        ),
        expected=f"{names} stays up or rises, until the rate, the optimizer or the hardware is "
        "mended",
        due=now.step + FEW_LOOKS * now.gap,
        refuted_by=f"{names} comes back by itself",
    )


def _turn_due(now: Situation, begun: int) -> int:
    """By when a bump should be seen to have turned: within 5 times the longer of its warm-up
    and its rise so far, and as much again shows it."""
    rise = now.step - begun
    warmup = now.lr.until - now.lr.step if now.lr is not None and now.lr.kind == "lr up" else 0
    return now.step + max(10 * max(rise, warmup), 2 * FEW_LOOKS * now.gap)


def _excess(one: Domain) -> float:
    """Against its curve, or against the look before where there is no curve. [nats/token]"""
    move = one.move
    return move.now - move.expected if move.expected is not None else move.change


def _rate_words(lr: Happening) -> str:
    if lr.kind == "lr up":
        return (
            f"the learning rate rose from {lr.before:.3g} to {lr.after:.3g} between updates "
            f"{lr.step} and {lr.until}"
        )
    return (
        f"the learning rate fell from {lr.before:.3g} to {lr.after:.3g} between updates "
        f"{lr.step} and {lr.until}"
    )


def _share_words(one: Domain) -> str:
    words = (
        f"{one.name} is new: {one.share_after:.0%} of the tokens"
        if one.is_new
        else f"the share of {one.name} in the tokens went from {one.share_before:.0%} to "
        f"{one.share_after:.0%}"
    )
    return words if one.share is None else f"{words} after update {one.share.step}"


def _corrupt_words(heard: Happening, name: str) -> str:
    return (
        f"since update {heard.step} {heard.after:.0%} of the sequences of {name} are corrupt, "
        f"before {heard.before:.1%}"
    )


def _names(domains: "list[Domain] | tuple[Domain, ...]") -> str:
    return ", ".join(one.name for one in domains)


_RULES = {
    causes.LEAKED: _leaked,
    causes.CORRUPT_SOURCE: _corrupt_source,
    causes.STABILITY_GAP: _stability_gap,
    causes.STARVED: _starved,
    causes.LEARNING: _learning,
    causes.REWARM: _rewarm,
    causes.ANNEALING: _annealing,
    causes.UNSTABLE: _unstable,
}
