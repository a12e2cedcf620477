"""A made-up run with a panel: curves, noise and events that a test chooses, told to an `Outlook`."""

import math
import random

import msgspec

from steadytrain.events import Alarm, PanelRecord, PanelWanted, Trend
from steadytrain.judge.looks import Looks
from steadytrain.judge.outlook import Outlook
from tests.samples import began, record

DOMAINS = ("zh", "en", "code")
SEQUENCES = 60


class Voyage:
    """Updates of 32 sequences, a look every 20; curves fall slowly from step 1000 on.

    Attributes:
        shift: domain -> what its panel is above its curve; train: the same of its training loss.
        weights: sequences of each domain in an update.
    """

    def __init__(self, *, seed=0, outlook=None, every=20, start=1000, is_branch=True):
        self.outlook = outlook or Outlook()
        self.facts = [_began(every)]
        self.looks = self.outlook.begin(Looks(), self.facts[0])
        if is_branch:
            self.looks = self.outlook.branch(self.looks)
        self.chance = random.Random(seed)
        self.begin = self.step = start if is_branch else 0
        self.every = every
        self.said = []
        self.shift = dict.fromkeys(DOMAINS, 0.0)
        self.train = dict.fromkeys(DOMAINS, 0.0)
        self.weights = {"zh": 10, "en": 10, "code": 12}
        self.corrupt = dict.fromkeys(DOMAINS, 0)
        self.leaked = dict.fromkeys(DOMAINS, 0)
        self.lr, self.norm, self.is_treated = 1e-3, 1.0, False
        self.offsets = [[self.chance.gauss(0, 0.3) for _ in range(SEQUENCES)] for _ in DOMAINS]

    def sail(self, looks, **drifts):
        """So many looks with the updates before each; `drifts`: what a domain's shift gains at
        each look."""
        for _ in range(looks):
            for _ in range(self.every or 20):
                self.update()
            for name, gain in drifts.items():
                self.shift[name] += gain
            self.look()
        return self

    def update(self):
        self.step += 1
        counts = tuple(self.weights[name] for name in DOMAINS)
        nll = tuple(
            100 * count * (self._curve(name) + self.train[name] + self.chance.gauss(0, 0.1))
            for name, count in zip(DOMAINS, counts, strict=True)
        )
        told = record(
            self.step, (1.0, 1.0, 1.0), nll=nll, tokens=tuple(100 * one for one in counts),
            sequences=counts, lr=self.lr, lr_planned=self.lr,
            grad_norm=self.norm * math.exp(self.chance.gauss(0, 0.1)),
            corrupt=tuple(self.corrupt[name] for name in DOMAINS),
            leaked=tuple(self.leaked[name] for name in DOMAINS),
        )  # fmt: skip
        self.facts.append(told)
        self.looks, judgments = self.outlook.step(
            self.looks, told, DOMAINS, begin=self.begin, last=None
        )
        self.said += judgments
        return judgments

    def look(self, *, version=1, seconds=0.1):
        losses = []
        for name, offsets in zip(DOMAINS, self.offsets, strict=True):
            level = self._curve(name) + self.shift[name] + self.chance.gauss(0, 0.005)
            losses.append(tuple(level + one + self.chance.gauss(0, 0.03) for one in offsets))
        told = PanelRecord(
            attempt=1, step=self.step, nll=tuple(100 * sum(some) for some in losses),
            tokens=(100 * SEQUENCES,) * 3, bytes=(100 * SEQUENCES,) * 3, losses=tuple(losses),
            version=version, seconds=seconds,
        )  # fmt: skip
        self.facts.append(told)
        self.looks, judgments = self.outlook.look(
            self.looks, told, DOMAINS, is_treated=self.is_treated
        )
        self.said += judgments
        return judgments

    def trends(self, state="explained"):
        return [one for one in self.said if isinstance(one, Trend) and one.state == state]

    def names(self, state="explained"):
        return [(one.pattern, one.domains) for one in self.trends(state)]

    def alarms(self):
        return [one for one in self.said if isinstance(one, Alarm)]

    def wanted(self):
        return [(one.due, one.why) for one in self.said if isinstance(one, PanelWanted)]

    def _curve(self, name):
        return {"zh": 2.0, "en": 1.8, "code": 1.5}[name] + 12 * max(self.step, 50) ** -0.5


def _began(every):
    return msgspec.structs.replace(began(DOMAINS), panel="p", panel_every=every)
