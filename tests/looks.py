"""Made-up looks at a panel, for tests of what is said of them."""

import numpy as np

from steadytrain.events import Event, PanelDrawn, PanelRecord
from tests.samples import began, record

SEQUENCES = 200
TOKENS, BYTES = 100, 250


def look(step, means, *, seed=0, spread=0.3, noise=0.05, count=SEQUENCES, version=1, **more):
    """A look whose domains have about these mean losses; the spread is that of the sequences."""
    losses = []
    for domain, mean in enumerate(means):
        if mean is None:
            losses.append(())
            continue
        own = np.random.default_rng([seed, domain]).normal(0, spread, count)
        moved = np.random.default_rng([seed, domain, step]).normal(0, noise, count)
        losses.append(tuple((mean + own - own.mean() + moved - moved.mean()).tolist()))
    return PanelRecord(
        attempt=1,
        step=step,
        nll=tuple(TOKENS * sum(one) for one in losses),
        tokens=tuple(TOKENS * len(one) for one in losses),
        bytes=tuple(BYTES * len(one) for one in losses),
        losses=tuple(losses),
        version=version,
        **more,
    )


def drawn(counts, *, version=1, **more):
    lengths = tuple((TOKENS,) * count for count in counts)
    return PanelDrawn(
        attempt=1, step=0, digest=f"digest-{version}", lengths=lengths, version=version, **more
    )


def run(domains, curves, steps) -> list[Event]:
    """A run with a look at each of these steps; curves: step -> mean loss, one a domain."""
    events: list[Event] = [began(domains), drawn([SEQUENCES] * len(domains), seed=0, window=TOKENS)]
    for step in steps:
        if step:
            events.append(record(step, tuple(curve(step) for curve in curves)))
        events.append(look(step, [curve(step) for curve in curves]))
    return events
