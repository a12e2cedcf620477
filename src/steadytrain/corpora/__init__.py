"""Text corpora of many formats -> documents, verdicts, and what a data order should leave out."""

from steadytrain.corpora.skips import SkipList, draws_left_out

__all__ = ["SkipList", "draws_left_out"]
