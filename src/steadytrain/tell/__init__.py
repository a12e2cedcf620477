"""Tells people what a run's journal says, where they are; a process of its own, no torch."""
