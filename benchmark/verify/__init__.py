"""``bench verify``: hash again all that a run claims, and name what is not so."""

from benchmark.verify.findings import Check, Finding, Verification
from benchmark.verify.run import verify_run

__all__ = ["Check", "Finding", "Verification", "verify_run"]
