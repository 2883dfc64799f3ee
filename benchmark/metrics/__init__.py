"""Scores of stylised images: one torchmetrics ``Metric`` for each file."""
