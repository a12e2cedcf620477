"""The fixed panel as data: drawn once, written down, left out of training.

One window of each document, since the tokens of a document belong together: what counts is how many
documents there are.

    panel = draw(documents, domains=("zh", "en"), seed=0, encode=tokenizer.encode, window=1024,
                 tokenizer=named("my-bpe", tokenizer.get_vocab()))
    panel.write("panel.jsonl")
"""

from steadytrain.panels.drawing import draw, named
from steadytrain.panels.fixed import FixedPanel, PanelSegment, PanelSequence

__all__ = ["FixedPanel", "PanelSegment", "PanelSequence", "draw", "named"]
