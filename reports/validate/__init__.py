"""The conformance kit: what every method must keep, tried on one method."""
