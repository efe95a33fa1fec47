"""One of the processes that read a large file side by side: started by `core.data.check.parallel`, never by hand.

    python -m core.data.check.helper TASKS ANSWERS      two inherited pipes, by their numbers

First comes a `Reading`; then (number, (first byte, byte after the last)) again and again, each answered with
(number, Findings). The process ends when the first pipe closes.
"""

from __future__ import annotations

import gc
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from core.data.check.findings import Reading, findings_of


def main(tasks: Connection[Any, Any], answers: Connection[Any, Any]) -> None:
    """Answer tasks until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us, and closes our pipe
    gc.disable()  # rows hold no cycles, and looking for some takes a tenth of the time
    try:
        reading: Reading = tasks.recv()
        examiner = reading.examiner()
        while True:
            number, (start, stop) = tasks.recv()
            answers.send((number, findings_of(reading, examiner, reading.source.part(start, stop))))
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main(Connection(int(sys.argv[1]), writable=False), Connection(int(sys.argv[2]), readable=False))
