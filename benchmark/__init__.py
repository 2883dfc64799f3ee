"""stylebench: a reproducible benchmark of text-guided image style transfer."""

__version__ = "0.1.0"

DEFAULT_PROTOCOL = "mini-64-v1"
