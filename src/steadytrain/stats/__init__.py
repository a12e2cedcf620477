"""Numbers in, numbers out: no clock, no randomness, no hidden state."""
