"""Facts in, judgments out: pure, torch-free, clock-free. Only judge.py knows its siblings."""
