"""One worker of a sweep: reads runs from stdin, answers how each ended on stdout.

Started by :mod:`benchmark.sweep.workers` with the command line of the sweep, which manifests name.
"""

from __future__ import annotations

import _thread
import os
import queue
import signal
import sys
import threading

from benchmark.environment import share_the_processor


def main() -> None:
    """Work until stdin ends. A run that is in flight then is stopped: whoever asked is gone."""
    share_the_processor()
    # a shell starts what it puts in the background with SIGINT ignored, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from benchmark.source_cache import SWEEP_BYTES
    from benchmark.sweep.messages import ATTEMPT, CACHE_VARIABLE, OPTIONS
    from benchmark.sweep.session import Session

    # what libraries print must not stand among the answers
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lines: queue.Queue[bytes | None] = queue.Queue()
    busy = threading.Event()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        lines.put(None)
        if busy.is_set():
            _thread.interrupt_main()

    threading.Thread(target=read, daemon=True).start()
    session = Session(int(os.environ.get(CACHE_VARIABLE, SWEEP_BYTES)))
    try:
        while (line := lines.get()) is not None:
            busy.set()
            attempt = session.attempt(OPTIONS.validate_json(line))
            busy.clear()
            answers.write(ATTEMPT.dump_json(attempt) + b"\n")
            answers.flush()
    except (KeyboardInterrupt, BrokenPipeError):
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
