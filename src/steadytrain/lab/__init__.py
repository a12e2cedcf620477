"""A small language model to train, real text to train it on, faults to inject."""
