"""Tables of human scores: what they mean, where they lie, and how to split them."""
