"""Explanations: what is seen in an image, the verdict that follows from it, and what would change it."""
