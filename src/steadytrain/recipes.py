"""Ready-made judges as plain functions. A run is one of these, or a `Judge` of your own."""

from typing import Any

from steadytrain.judge.judge import Judge
from steadytrain.judge.state import Mode
from steadytrain.judge.treatment import Treatment


def pretrain(*, mode: Mode = "act", trials: int = 0, **settings: Any) -> Judge:
    """The judge for pre-training a language model.

    Args:
        mode: "act": repair by itself, from mild to strong; "ask": propose, and wait for a person;
            "observe": only tell what it would do.
        trials: how often in a run candidate remedies may be tried before one is taken.
        settings: any attribute of `Judge`, to differ from its default.
    """
    return Judge(treatment=Treatment(mode=mode, trials=trials), **settings)
