"""What is wrong with this text? str in, verdict out; no torch."""

from steadytrain.text.habits import Habits
from steadytrain.text.lint import lint
from steadytrain.text.profile import Profile, nearest
from steadytrain.text.verdict import Verdict

__all__ = ["Habits", "Profile", "Verdict", "lint", "nearest"]
