"""Pages for people: the report of a run of scores, and the comparison of two; one file each, offline."""
