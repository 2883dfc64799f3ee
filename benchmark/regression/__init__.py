"""Frozen per-sample scores of a run, and whether a later run has lost against them."""
