"""Dataset cards, prompt sets, sources and the DataModule."""
