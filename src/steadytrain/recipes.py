"""Ready-made judges as plain functions. A run is one of these, or a `Judge` of your own."""

from typing import Any

from steadytrain.judge.judge import Judge


def pretrain(**settings: Any) -> Judge:
    """The judge for pre-training a language model: acts by itself, from mild to strong.

    Args:
        settings: any attribute of `Judge`, to differ from its default.
    """
    return Judge(**settings)
