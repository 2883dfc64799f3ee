"""The models: a registry of checkpoints, their safe loading, and what wraps them."""

from benchmark.zoo.models import ModelZoo

__all__ = ["ModelZoo"]
