"""``bench freeze`` and ``bench check``: what they print and write."""
