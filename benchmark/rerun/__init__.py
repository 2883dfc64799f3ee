"""``bench rerun``: make a run again from its manifest alone, and say whether it is the same."""
