"""Frozen scores of the built-in methods: ``<protocol>/<dataset>/<method>.parquet``."""
