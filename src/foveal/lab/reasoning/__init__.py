"""Two-stage reasoning: say what is seen, judge from what is said, and test whether that is honest."""
