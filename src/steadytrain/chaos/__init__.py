"""Breaks real runs as planned, and proves what they survive: `steadytrain chaos`."""
