"""Runs in the formats of other tools: Hugging Face datasets, CSV, TensorBoard, Weights & Biases."""
