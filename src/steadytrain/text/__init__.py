"""What is wrong with this text? str in, verdict out; no torch."""

from steadytrain.text.lint import Verdict, lint
from steadytrain.text.profile import Profile

__all__ = ["Profile", "Verdict", "lint"]
