"""How well scores agree with people: correlations, significance, coverage, behaviour under degradation."""
