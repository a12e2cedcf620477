"""What is wrong with this text? str in, verdict out; no torch."""

from steadytrain.text.lint import lint
from steadytrain.text.profile import Profile
from steadytrain.text.verdict import Verdict

__all__ = ["Profile", "Verdict", "lint"]
