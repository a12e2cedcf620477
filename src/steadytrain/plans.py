"""Plans in words that a person can write: `roll back 1200; skip draws 5000-6000; lr 0.5 hold 100`.

A plan is clauses, separated by semicolons or lines. A clause is the action's opening words, its
value if it has one, and options as `name value` in any order. `from N` lets a setting hold from
update N + 1 on; without it, it holds as soon as the run can do it, or from where a rollback leads.
Draws are named from first to last, and both of these are left out too.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from steadytrain import actions
from steadytrain.actions import Action, Plan, roll_back_step
from steadytrain.errors import SettingError
from steadytrain.ranges import merge

_STEPS = {"hold": "hold_steps"}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[;\n\uff1b]|[^\s;"\uff1b]+|"')
_ENDS = (";", "\n", "\uff1b")  # the last is what a Chinese keyboard gives


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """How one action is written.

    Attributes:
        opening: words that the clause begins with.
        value: field that the word after them fills, None if none does.
        options: word -> field.
        example, says: for the help.
    """

    kind: type[Action]
    opening: str
    value: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    example: str
    says: str


PHRASES = (
    Phrase(
        kind=actions.RollBack,
        opening="roll back",
        value="to_step",
        example="roll back 1200",
        says="return to the state after update 1200; 'roll back by 100' counts from now",
    ),
    Phrase(
        kind=actions.SkipDraws,
        opening="skip draws",
        value="ranges",
        example="skip draws 5000-6000, 7012",
        says="leave these sequences out of the data order",
    ),
    Phrase(
        kind=actions.ScaleLearningRate,
        opening="lr",
        value="factor",
        options={**_STEPS, "rewarm": "rewarm_steps"},
        example="lr 0.5 hold 100 rewarm 400",
        says="halve the learning rate for 100 updates, then re-warm over 400",
    ),
    Phrase(
        kind=actions.ScaleEpsilon,
        opening="epsilon",
        value="factor",
        example="epsilon 0.1",
        says="multiply Adam's epsilon",
    ),
    Phrase(
        kind=actions.ScaleShallowGradients,
        opening="shallow gradients",
        value="alpha",
        options={**_STEPS, "relax": "relax_steps", "reach": "reach"},
        example="shallow gradients 0.1 hold 100 relax 500",
        says="damp the embedding's gradients, and less those of deeper blocks ('reach 0': not)",
    ),
    Phrase(
        kind=actions.SetZLoss,
        opening="z-loss",
        value="coefficient",
        options={**_STEPS, "relax": "relax_steps", "form": "form"},
        example="z-loss 1e-4 hold 2000 relax 500",
        says="hold the logits; 'form max' takes the largest logit, not their logsumexp",
    ),
    Phrase(
        kind=actions.SetClipping,
        opening="clipping",
        value="method",
        options=_STEPS,
        example="clipping zclip hold 1000",
        says="clip gradients by a running threshold: zclip, adagc or spikes",
    ),
    Phrase(
        kind=actions.ResetMoments,
        opening="reset moments",
        example="reset moments",
        says="set the optimizer's moments to zero once",
    ),
    Phrase(
        kind=actions.LimitUpdates,
        opening="limit updates",
        options=_STEPS,
        example="limit updates hold 1000",
        says="divide updates that are larger than their gradients' history lets expect",
    ),
    Phrase(
        kind=actions.ClipAttention,
        opening="clip attention",
        options={**_STEPS, "threshold": "threshold"},
        example="clip attention threshold 100",
        says="shrink query and key weights of heads whose logits grow beyond it",
    ),
    Phrase(
        kind=actions.ExcludeRank,
        opening="exclude rank",
        value="rank",
        example="exclude rank 3",
        says="leave that rank's gradient out of the average",
    ),
    Phrase(
        kind=actions.LeaveHost,
        opening="leave host",
        value="rank",
        example="leave host 3",
        says="save, and ask to be started without the host of that rank (exit status 75)",
    ),
    Phrase(
        kind=actions.BeginDecay,
        opening="begin decay",
        example="begin decay",
        says="begin the schedule's decay now",
    ),
    Phrase(
        kind=actions.Cancel,
        opening="cancel",
        value="remedy",
        example="cancel remedy-3",
        says="end what an earlier remedy set",
    ),
    Phrase(
        kind=actions.SkipUpdate,
        opening="skip update",
        value="step",
        example="skip update 812",
        says="hold one update back; only the gate can do so, in time",
    ),
    Phrase(
        kind=actions.AskPerson,
        opening="ask",
        value="question",
        example='ask "is rank 3 broken?"',
        says="let a person decide; no order, but a plan may hold it",
    ),
)


def parse(text: str, *, after: int) -> tuple[Plan, ...]:
    """The plan that a person wrote.

    Args:
        after: settings hold after this update where the plan says nothing else. A plan that rolls
            back moves that to the update which it returns to.

    Raises:
        SettingError: it says what cannot be understood, and what to write.

    >>> parse("roll back 1200; lr 0.5 hold 8 rewarm 32", after=1300)[1].from_step
    1200
    """
    clauses = _clauses(text)
    if not clauses:
        raise SettingError(f"the plan is empty. Write one, such as: {PHRASES[2].example}")
    found = [_read_clause(clause, after) for clause in clauses]
    returns = [given["to_step"] for phrase, given in found if "to_step" in given]
    if len(returns) > 1:
        raise SettingError(
            f"the plan rolls back twice, to {' and to '.join(map(str, returns))}, and a run is at "
            "one place only. Write one 'roll back'."
        )
    since = returns[0] if returns else after
    return tuple(_build(phrase, given, since) for phrase, given in found)


def write(plan: Sequence[Plan]) -> str:
    """The words for a plan; `parse` gives it back, whatever its `after`."""
    back = roll_back_step(tuple(plan))
    return "; ".join(_write_clause(action, back) for action in plan)


def openings(kinds: Iterable[str]) -> list[str]:
    """How clauses of these kinds of action begin, of those that a person can order."""
    wanted = {*kinds} - {"SkipUpdate", "AskPerson"}
    return [phrase.opening for phrase in PHRASES if phrase.kind.__name__ in wanted]


def manual() -> str:
    """All actions with an example each, for the help of the command line."""
    width = max(len(phrase.example) for phrase in PHRASES)
    lines = [f"  {phrase.example:{width}}  {phrase.says}" for phrase in PHRASES]
    return "\n".join(lines)


def _clauses(text: str) -> list[list[str]]:
    clauses: list[list[str]] = [[]]
    for token in _TOKEN.findall(text):
        if token in _ENDS:
            clauses.append([])
        else:
            clauses[-1].append(token)
    return [clause for clause in clauses if clause]


def _read_clause(clause: list[str], after: int) -> tuple[Phrase, dict[str, Any]]:
    shown = " ".join(clause)
    phrase = _phrase_of(clause)
    options = _options(phrase)
    rest = clause[len(phrase.opening.split()) :]
    first = next((at for at, word in enumerate(rest) if word.lower() in options), len(rest))
    value, pairs = rest[:first], rest[first:]
    given: dict[str, Any] = {}
    if phrase.value is not None:
        given[phrase.value] = _value(phrase, phrase.value, " ".join(value), shown, after)
    elif value:
        raise _unclear(shown, f"{' '.join(value)!r} means nothing here", phrase)
    for at in range(0, len(pairs), 2):
        word = pairs[at].lower()
        name = options.get(word)
        if name is None:
            known = ", ".join(options)
            raise _unclear(shown, f"{word!r} is none of its options ({known})", phrase)
        if name in given:
            raise _unclear(shown, f"{word!r} stands there twice", phrase)
        given[name] = _value(phrase, name, "".join(pairs[at + 1 : at + 2]), shown, after)
    for word, name in options.items():
        if name in _required(phrase.kind) - {"from_step"} and name not in given:
            raise _unclear(shown, f"it does not say {word!r}", phrase)
    return phrase, given


def _phrase_of(clause: list[str]) -> Phrase:
    words = [word.lower() for word in clause]
    for phrase in PHRASES:
        opening = phrase.opening.split()
        if words[: len(opening)] == opening:
            return phrase
    known = "; ".join(phrase.example for phrase in PHRASES)
    raise SettingError(f"{' '.join(clause)!r} is no action that is known. Write one of: {known}")


def _options(phrase: Phrase) -> dict[str, str]:
    from_step = {"from": "from_step"} if "from_step" in phrase.kind.__struct_fields__ else {}
    return {**phrase.options, **from_step}


def _required(kind: type[Action]) -> set[str]:
    return {one.name for one in msgspec.structs.fields(kind) if one.required}


def _build(phrase: Phrase, given: dict[str, Any], since: int) -> Plan:
    if "from_step" in phrase.kind.__struct_fields__:
        given = {"from_step": since, **given}
    built: Any = phrase.kind(**given)
    return built  # type: ignore[no-any-return]


def _value(phrase: Phrase, name: str, text: str, shown: str, after: int) -> Any:
    if name == "to_step" and text.lower().startswith("by "):
        back = _value(phrase, "hold_steps", text[3:], shown, after)
        return max(0, after - back)
    if name == "to_step" and text.lower().startswith("to "):
        text = text[3:]
    read, wanted = _READERS[name]
    found = read(text)
    if found is None:
        raise _unclear(shown, f"{text!r} stands where {wanted} must stand", phrase)
    return found


def _unclear(shown: str, why: str, phrase: Phrase) -> SettingError:
    return SettingError(f"{shown!r} is unclear: {why}. Write for instance: {phrase.example}")


def _write_clause(action: Plan, since: int | None) -> str:
    phrase = next(one for one in PHRASES if one.kind is type(action))
    words = [phrase.opening]
    if phrase.value is not None:
        words.append(_spell(phrase.value, getattr(action, phrase.value)))
    defaults = {one.name: one.default for one in msgspec.structs.fields(type(action))}
    for word, name in _options(phrase).items():
        value = getattr(action, name)
        usual = since if name == "from_step" else defaults[name]
        if value is not None and value != usual:
            words += [word, _spell(name, value)]
    return " ".join(words)


def _spell(name: str, value: Any) -> str:
    if name == "ranges":
        return ", ".join(
            str(first) if end == first + 1 else f"{first}-{end - 1}" for first, end in value
        )
    if name == "question":
        return json.dumps(value, ensure_ascii=False)
    return repr(value) if isinstance(value, float) else str(value)


def _whole(text: str) -> int | None:
    # 18 digits fit into 64 bits; more than 4300 make int() fail.
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _positive(text: str) -> float | None:
    found = _number(text)
    return found if found is not None and found > 0 else None


def _share(text: str) -> float | None:
    found = _number(text)
    return found if found is not None and 0 <= found <= 1 else None


def _ranges(text: str) -> tuple[tuple[int, int], ...] | None:
    found = []
    for part in text.replace("\uff0c", ",").split(","):
        first, mark, last = (one.strip() for one in part.partition("-"))
        begin, end = _whole(first), _whole(last if mark else first)
        if begin is None or end is None or end < begin:
            return None
        found.append((begin, end + 1))
    return merge(found)


def _quoted(text: str) -> str | None:
    if not text.startswith('"'):
        return None
    try:
        found: str = json.loads(text)
    except ValueError:
        return None
    return found


def _name(text: str) -> str | None:
    return text if re.fullmatch(r"[^\s\";]+", text) else None


def _one_of(*known: str) -> tuple[Callable[[str], str | None], str]:
    return lambda text: text.lower() if text.lower() in known else None, " or ".join(known)


_STEP = (_whole, "a whole number of updates")
_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "to_step": (_whole, "the number of an update"),
    "step": (_whole, "the number of an update"),
    "from_step": (_whole, "the number of an update"),
    "hold_steps": _STEP,
    "rewarm_steps": _STEP,
    "relax_steps": _STEP,
    "ranges": (_ranges, "draws such as 5000-6000 or 5000-6000, 7012"),
    "factor": (_positive, "a number above 0"),
    "threshold": (_positive, "a number above 0"),
    "alpha": (_share, "a number from 0 to 1"),
    "reach": (_share, "a number from 0 to 1"),
    "coefficient": (_share, "a number from 0 to 1"),
    "method": _one_of("zclip", "adagc", "spikes"),
    "form": _one_of("logsumexp", "max"),
    "rank": (_whole, "the number of a rank, from 0"),
    "remedy": (_name, "the id of a remedy"),
    "question": (_quoted, "a question in double quotes"),
}
