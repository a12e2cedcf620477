"""The detector alone, for any loop or notebook: numbers in, findings out. No torch, no journal.

from steadytrain import Watch

watch = Watch()
for finding in watch.update(step=step, loss=loss, grad_norm=norm, domains={"zh": 2.1}):
    print(finding.kind, finding.signal, finding.value, finding.expected)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from steadytrain.errors import SettingError
from steadytrain.judge.clocks import Clocks
from steadytrain.judge.detectors import Window
from steadytrain.judge.episodes import End, Episode, Kind, find_onset, follow, heard_alone
from steadytrain.judge.votes import foretell, vote
from steadytrain.signals import (
    ATTENTION_LOGIT,
    GRAD_NORM,
    LOGSUMEXP,
    LOSS,
    SPEED,
    THIN_LOSS,
    UPDATE,
    Observation,
    Signal,
    log,
    log_attention,
)
from steadytrain.stats.sums import inner_domains
from steadytrain.sweep import follow_track, sweep

Change = Literal["began", "renamed", "ended"]
DomainLoss = float | tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one step says about one signal.

    Attributes:
        kind: "outlier batch", "spike", "slow divergence", "drop", "level shift", "not finite" or
            "stalled"; the name may be revised while the episode lasts.
        change: "began", "renamed" or "ended".
        signal: "loss", "loss:zh", "grad norm" and so on.
        step: the step that says so; `onset`: the first one that looks affected; `first`, `last`:
            of the first and the newest ring.
        value, expected: of the farthest point so far, as logged.
        score: its signed distance. [robust standard deviations]
        row, last_row: how many steps this watch had seen before `first` and `last`.
        end: how it ended: "recovered", "new level", "rolled back"; "" before.
    """

    kind: Kind
    change: Change
    signal: str
    step: int
    onset: int
    value: float
    expected: float
    score: float
    first: int
    last: int
    row: int
    last_row: int
    end: End = ""


class _Memory(msgspec.Struct, frozen=True, kw_only=True):
    """All that a watch remembers; plain data."""

    row: int = 0
    step: int | None = None
    windows: dict[str, Window] = {}
    episodes: dict[str, Episode] = {}


class Watch:
    """Watches the scalars of one run, point by point.

    Args:
        steps_per_false_alarm: about how often calm noise may raise an alarm, all losses together.
            [steps] docs/detection.md shows what was asked and what came.
        burn_in: silent until so many points of a signal are known. [steps]

    Raises:
        SettingError: a setting that makes no sense.
    """

    def __init__(self, *, steps_per_false_alarm: float = 30_000.0, burn_in: int = 48) -> None:
        if not steps_per_false_alarm >= 100:
            raise SettingError(
                f"steps_per_false_alarm={steps_per_false_alarm!r} would ring all the time or "
                "never. Give the steps of calm training that one false alarm may cost: 30000."
            )
        if burn_in < 16:
            raise SettingError(
                f"burn_in={burn_in!r} is too short: noise cannot be told from so few points. "
                "Give at least 16; the default is 48."
            )
        self._detector = Clocks(steps_per_false_alarm=steps_per_false_alarm, burn_in=burn_in)
        self._memory = _Memory()

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """What is going on now, one per signal."""
        return tuple(self._memory.episodes.values())

    def update(
        self,
        step: int,
        loss: float | None,
        grad_norm: float | None = None,
        lr: float | None = None,
        domains: Mapping[str, DomainLoss] | None = None,
        *,
        update: float | None = None,
        attention_logit: float | None = None,
        logsumexp: float | None = None,
        tokens_per_second: float | None = None,
    ) -> list[Finding]:
        """What this step says. A step that is not after the last one means that the run went back.

        Args:
            loss: mean over all tokens, without z-loss. [nats/token]
            grad_norm: before clipping.
            lr: learning rate; an update is judged by its size per learning rate.
            domains: loss of each domain, or (loss, tokens); with tokens, a change of the mixture
                is not taken for a change of the loss, and a thin domain may be noisier.
            update: norm of the weight update.
            attention_logit, logsumexp: the largest attention logit, the mean logsumexp.

        None means not known at this step; NaN means that it was NaN.
        """
        observations = _observe(
            loss, domains or {}, grad_norm, update, lr, attention_logit, logsumexp,
            tokens_per_second,
        )  # fmt: skip
        return self.watch(step, observations)

    def watch(self, step: int, observations: Sequence[Observation]) -> list[Finding]:
        """Like `update`, of observations made already."""
        found: list[Finding] = []
        memory = self._memory
        if memory.step is not None and step <= memory.step:
            memory, found = self._go_back(memory, step)
        observations = foretell(observations, memory.windows, self._detector, step)
        windows, episodes = dict(memory.windows), dict(memory.episodes)
        detector = self._detector
        known = [windows.get(seen.name) or detector.init(seen) for seen in observations]
        scores = [
            detector.score(window, step, seen)
            for window, seen in zip(known, observations, strict=True)
        ]
        voted = vote(observations, scores, windows)
        for seen, score, told, before in zip(observations, scores, voted, known, strict=True):
            after = detector.learn(before, step, seen, score=score)
            windows[seen.name] = after
            was = episodes.pop(seen.name, None)
            heard = heard_alone(seen, told, was, was_open=before.is_open)
            now = follow(
                was,
                seen,
                heard,
                onset=find_onset(told, before, step),
                is_calm=after.is_calm,
                step=step,
                row=memory.row,
            )
            if now is not None and not now.end:
                episodes[seen.name] = now
            found += _findings(was, now, seen.signal, step)
        self._memory = _Memory(row=memory.row + 1, step=step, windows=windows, episodes=episodes)
        return found

    def update_many(
        self, steps: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]
    ) -> list[Finding]:
        """What `update` would say of each row, in order: the same findings, sooner.

        Args:
            steps: int64 of shape (N,).
            columns: float64 of shape (N,), masked where nothing is known: "loss", "grad_norm",
                "lr", "update", "attention_logit", "logsumexp", "tokens_per_second", "loss:zh",
                "tokens:zh".
        """
        found: list[Finding] = []
        lives = np.flatnonzero(np.diff(steps) <= 0) + 1
        for part in np.split(np.arange(len(steps)), lives):
            if len(part):
                life = slice(int(part[0]), int(part[-1]) + 1)
                rows = {name: np.ma.MaskedArray(one[life]) for name, one in columns.items()}
                found += self._sweep(steps[life], rows)
        return found

    def _sweep(
        self, steps: NDArray[np.int64], columns: Mapping[str, np.ma.MaskedArray]
    ) -> list[Finding]:
        """`update_many` of steps that rise."""
        told: list[Finding] = []
        memory = self._memory
        if memory.step is not None and int(steps[0]) <= memory.step:
            memory, told = self._go_back(memory, int(steps[0]))
        tracks = sweep(self._detector, memory.windows, steps, columns)
        windows = dict(memory.windows) | {one.name: one.window for one in tracks if one.window}
        episodes: dict[str, Episode] = {}
        found: list[tuple[int, int, list[Finding]]] = []
        witnesses = np.unique(np.concatenate([one.witnesses for one in tracks] or [steps[:0]]))
        for order, track in enumerate(tracks):
            first = memory.episodes.get(track.name)
            for row, step, was, now in follow_track(track, first, witnesses, memory.row):
                found.append((row, order, _findings(was, now, track.signal, step)))
                episodes.pop(track.name, None)
                if now is not None and not now.end:
                    episodes[track.name] = now
        self._memory = _Memory(
            row=memory.row + len(steps), step=int(steps[-1]), windows=windows, episodes=episodes
        )
        found.sort(key=lambda one: one[:2])
        return told + [finding for _, _, some in found for finding in some]

    def open_findings(self) -> list[Finding]:
        """What is still going on, as it stands."""
        memory = self._memory
        return [
            _finding(one, memory.windows[name].signal, "began", memory.step or 0)
            for name, one in memory.episodes.items()
        ]

    def state_dict(self) -> dict[str, Any]:
        """All memory as plain data, for a checkpoint of the run."""
        plain: dict[str, Any] = msgspec.to_builtins(self._memory)
        return {"version": 1, **plain}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a memory that `state_dict` gave.

        Raises:
            SettingError: it is not one.
        """
        try:
            if state["version"] != 1:
                raise ValueError(f"version {state['version']!r}")
            self._memory = msgspec.convert(dict(state), _Memory)
        except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
            raise SettingError(
                f"this is not the state of a Watch ({error}), so nothing was loaded. Give what "
                "`state_dict` returned, unchanged."
            ) from error

    def _go_back(self, memory: _Memory, step: int) -> tuple[_Memory, list[Finding]]:
        """The baselines as they were before `step`; episodes that begin after it are undone."""
        windows = {
            name: self._detector.forget_after(window, step - 1)
            for name, window in memory.windows.items()
        }
        gone = [
            _finding(msgspec.structs.replace(one, end="rolled back"), windows[name].signal,
                     "ended", step)
            for name, one in memory.episodes.items()
        ]  # fmt: skip
        return _Memory(row=memory.row, step=step - 1, windows=windows), gone


def _findings(was: Episode | None, now: Episode | None, signal: Signal, step: int) -> list[Finding]:
    if now is None:
        return []
    found = []
    if was is None:
        found.append(_finding(now, signal, "began", step))
    elif was.kind != now.kind:
        found.append(_finding(now, signal, "renamed", step))
    if now.end:
        found.append(_finding(now, signal, "ended", step))
    return found


def _finding(episode: Episode, signal: Signal, change: Change, step: int) -> Finding:
    return Finding(
        kind=episode.kind,
        change=change,
        signal=episode.signal,
        step=step,
        onset=episode.onset,
        value=signal.natural(episode.value),
        expected=signal.natural(episode.expected),
        score=episode.score,
        first=episode.first,
        last=episode.last,
        row=episode.row,
        last_row=episode.last_row,
        end=episode.end if change == "ended" else "",
    )


def _observe(
    loss: float | None,
    domains: Mapping[str, DomainLoss],
    grad_norm: float | None,
    update: float | None,
    lr: float | None,
    attention_logit: float | None,
    logsumexp: float | None,
    tokens_per_second: float | None,
) -> tuple[Observation, ...]:
    found = _losses(loss, domains)
    for name, value, signal in (
        ("grad norm", log(grad_norm), GRAD_NORM),
        ("update", log(update / lr) if update is not None and lr else None, UPDATE),
        ("attention logit", log_attention(attention_logit), ATTENTION_LOGIT),
        ("logsumexp", logsumexp, LOGSUMEXP),
        ("tokens/s", log(tokens_per_second), SPEED),
    ):
        if value is not None:
            found.append(Observation(name=name, value=value, count=1.0, signal=signal))
    return tuple(found)


def _losses(loss: float | None, domains: Mapping[str, DomainLoss]) -> list[Observation]:
    pairs = {name: one if isinstance(one, tuple) else (one, 0.0) for name, one in domains.items()}
    weighed = {name: pair for name, pair in pairs.items() if pair[1] > 0}
    pairs = weighed or pairs
    found = [] if loss is None else [_total("loss", weighed, list(weighed), loss)]
    found += [_loss(f"loss:{name}", value, tokens) for name, (value, tokens) in pairs.items()]
    names = tuple(weighed)
    for name, members in inner_domains(names).items():
        leaves = [names[index] for index in members]
        tokens = sum(weighed[leaf][1] for leaf in leaves)
        mean = sum(weighed[leaf][0] * weighed[leaf][1] for leaf in leaves) / tokens
        found.append(_total(f"loss:{name}", weighed, leaves, mean))
    return [msgspec.structs.replace(seen, peers=len(found)) for seen in found]


def _total(
    name: str, pairs: Mapping[str, tuple[float, float]], leaves: Sequence[str], value: float
) -> Observation:
    """A mean over several domains, with their shares of the tokens where those are known."""
    tokens = sum(pairs[leaf][1] for leaf in leaves)
    seen = _loss(name, value, tokens)
    if len(leaves) < 2:
        return seen
    parts = tuple((f"loss:{leaf}", pairs[leaf][1] / tokens) for leaf in leaves)
    return msgspec.structs.replace(seen, parts=parts)


def _loss(name: str, value: float, tokens: float) -> Observation:
    signal = LOSS if tokens or name == "loss" else THIN_LOSS
    return Observation(name=name, value=float(value), count=tokens or 1.0, signal=signal)
