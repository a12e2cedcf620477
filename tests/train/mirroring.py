"""A run with a copy elsewhere, that stops where it is told to."""

from steadytrain import journal
from tests import rig

STEPS, STOP = 40, 25


def of(home, kind):
    return [event for event in journal.read(home) if isinstance(event, kind)]


def train(home, url, *, stop_at=None, keeps=None, calls=None, **changes):
    """Train, waiting for each copy: a run this quick copies only its newest.

    Args:
        calls: {step: what is called after it}.

    Returns:
        the state's digest; where it `keeps` model and optimizer, it is asked for there.
    """
    model, optimizer, guarded = rig.session(
        home, **({"steps": STEPS, "mirror": url, "panel": None} | changes)
    )
    with guarded as run:
        for batch in run:
            run.backward(model(batch.tokens_BT), batch)
            run.step()
            (calls or {}).get(run.step_number, int)()
            if run.step_number % 10 == 0:
                run._trajectory.finish_saving()
            if run._mirror is not None and (
                run.step_number % 10 == 0 or run.step_number == stop_at
            ):
                run._mirror.wait()
            if run.step_number == stop_at:
                break
    if keeps is not None:
        return keeps((model, optimizer))
    return rig.digest(model, optimizer)
