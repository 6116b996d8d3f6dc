"""Many images: find them, score them, write the rows so that any crash can be resumed."""
