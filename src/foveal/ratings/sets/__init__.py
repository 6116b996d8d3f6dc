"""Sets of rated images whose layout and scale are known: one file a set, or a family of sets."""
