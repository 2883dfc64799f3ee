"""Before anything imports torch: threads that wait sleep, so that tests may share a machine."""

from benchmark.environment import share_the_processor

share_the_processor()
