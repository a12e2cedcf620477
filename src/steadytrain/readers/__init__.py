"""Other tools' logs -> the scalars of a run. Own small readers; no tracker is needed."""
