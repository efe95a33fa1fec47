"""Reads a large file with several processes: each takes a stretch of whole lines, and what they find comes in order.

    for found in read(reading, check_stop=report.check_stop):
        …

Files of lines from PARALLEL_BYTES on are shared out, all others are read here, batch by batch. A helper
(`check.helper`) is a process of its own that imports neither torch nor the page; it is told what to read through a
pipe, and ends when that pipe closes, so it never outlives this process. Memory is bounded: no helper gets far ahead of
the stretch that is waited for.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from core.data.check.findings import Findings, Reading, findings_of
from core.data.files.reader import Progress
from core.errors import Problem, RunError
from core.hardware import cores
from core.system import python_command, python_environment

PARALLEL_BYTES = 24_000_000  # below, starting helpers takes longer than reading
PART_BYTES = 8_000_000  # of a stretch: some 150 MB of memory a helper
MOST_HELPERS = 8
AHEAD = 2  # stretches that a helper has been given and not yet answered
TICK = 0.2  # seconds between two looks at the stop request

CheckStop = Callable[[], None]


def read(
    reading: Reading,
    *,
    on_progress: Progress | None = None,
    check_stop: CheckStop | None = None,
    helpers: int | None = None,
) -> Iterator[Findings]:
    """What is found in the file, stretch by stretch, with the lines of the whole file.

    `helpers` are as many as there are processors, for large files, unless said otherwise; 0 reads here.
    """
    source = reading.source
    shape = reading.shape
    if helpers is None:
        helpers = min(cores(), MOST_HELPERS) if source.found[0] >= PARALLEL_BYTES else 0
    if helpers > 1 and source.of_lines and (shape is None or shape.gather is None):
        yield from _shared_out(reading, helpers, on_progress, check_stop)
    else:
        yield from _here(reading, on_progress, check_stop)


def _here(reading: Reading, on_progress: Progress | None, check_stop: CheckStop | None) -> Iterator[Findings]:
    examiner = reading.examiner()

    def told(at: int, total: int) -> None:
        if check_stop is not None:
            check_stop()
        if on_progress is not None:
            on_progress(at, total)

    for batch in reading.source.batches(told, gather=reading.shape.gather if reading.shape else None):
        if check_stop is not None:
            check_stop()
        yield findings_of(reading, examiner, [(batch, 0)])


def _shared_out(
    reading: Reading, helpers: int, on_progress: Progress | None, check_stop: CheckStop | None
) -> Iterator[Findings]:
    total, lines, done = reading.source.found[0], 0, 0
    pool = Pool(reading, helpers)
    try:
        for (start, stop), found in pool.answers(reading.source.parts(PART_BYTES), check_stop):
            yield moved(found, lines)
            lines += found.lines
            done += stop - start
            if on_progress is not None:
                on_progress(done, total)
    except RunError:
        reading.source.check_unchanged()
        raise
    finally:
        pool.close()


def moved(found: Findings, by: int) -> Findings:
    """The same findings, `by` lines further down."""
    if not by:
        return found

    def shift(problem: Problem) -> Problem:
        return problem if problem.line is None else replace(problem, line=problem.line + by)

    return replace(
        found,
        last=found.last + by,
        problems=[shift(problem) for problem in found.problems],
        dropped=[shift(problem) for problem in found.dropped],
        repaired=[one._replace(line=one.line + by) for one in found.repaired],
        blocks=[block.moved(by) for block in found.blocks],
    )


class Pool:
    """Helper processes and the pipes to them."""

    def __init__(self, reading: Reading, count: int) -> None:
        self.helpers: list[Helper] = []
        try:
            for _ in range(count):
                self.helpers.append(Helper(reading))
        except BaseException:
            self.close()
            raise

    def answers(self, tasks: Iterator[Any], check_stop: CheckStop | None) -> Iterator[tuple[Any, Findings]]:
        """(task, what was found) in the order of `tasks`. Raises RunError `run.helper_failed`, and what stops it."""
        numbered = enumerate(tasks)
        given: dict[int, Any] = {}
        answered: dict[int, Findings] = {}
        following = 0  # the task whose answer comes next
        by_pipe: dict[Any, Helper] = {helper.answers: helper for helper in self.helpers}
        self._hand_out(numbered, given, following)
        while given:
            ready = wait(list(by_pipe), TICK)
            if check_stop is not None:
                check_stop()
            for pipe in ready:
                number, found = by_pipe[pipe].receive()
                answered[number] = found
            while following in answered:
                yield given.pop(following), answered.pop(following)
                following += 1
            self._hand_out(numbered, given, following)

    def _hand_out(self, tasks: Iterator[tuple[int, Any]], given: dict[int, Any], following: int) -> None:
        """Give every helper something to do, unless an early stretch is so late that answers would pile up."""
        for helper in sorted(self.helpers, key=lambda helper: helper.busy) * AHEAD:
            if helper.busy >= AHEAD or len(given) >= 2 * AHEAD * len(self.helpers):
                continue
            number, task = next(tasks, (None, None))
            if number is None:
                return
            given[number] = task
            helper.send((number, task))

    def close(self) -> None:
        """End the helpers, whatever they are at."""
        for helper in self.helpers:
            helper.end()


class Helper:
    """One process. `busy` stretches were given to it and not yet answered."""

    def __init__(self, reading: Reading) -> None:
        self.busy = 0
        task_read, task_write = os.pipe()
        answer_read, answer_write = os.pipe()
        try:
            self.process = subprocess.Popen(
                python_command("core.data.check.helper", str(task_read), str(answer_write)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(task_read, answer_write),
                env=python_environment(),
            )
        except BaseException:
            os.close(task_write)
            os.close(answer_read)
            raise
        finally:
            os.close(task_read)
            os.close(answer_write)
        self.tasks: Connection[Any, Any] = Connection(task_write, readable=False)
        self.answers: Connection[Any, Any] = Connection(answer_read, writable=False)
        self.send_object(reading)

    def send(self, task: Any) -> None:
        self.busy += 1
        self.send_object(task)

    def send_object(self, sent: Any) -> None:
        try:
            self.tasks.send(sent)
        except OSError as error:
            raise self._failed() from error

    def receive(self) -> tuple[int, Findings]:
        try:
            number, found = self.answers.recv()
        except EOFError as error:
            raise self._failed() from error
        self.busy -= 1
        return number, found

    def _failed(self) -> RunError:
        code = self.process.wait()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return RunError("run.helper_failed", how=how, detail="a process that was reading the file ended")

    def end(self) -> None:
        self.tasks.close()
        self.answers.close()
        self.process.kill()
        self.process.wait()
