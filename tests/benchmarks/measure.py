"""How a figure is measured: variants run in turn, medians, and an interval for each result.

The machine also does other work, which changes within seconds. So the variants of a row
are interleaved: each round runs every variant once, in a new order, and the medians over
the rounds are compared.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

CRASH_FD = 3
_RESAMPLES = 1000
_FIRST_FREE = 10  # programs get descriptors below this number


class Reading(NamedTuple):
    """The result of one run of a program, and a steadier measure of the same.

    For a time, ``control`` is processor time, user and system: it leaves out the
    wait for a free processor on a busy machine.
    """

    value: float
    control: float

    def since(self, earlier: Reading) -> Reading:
        return Reading(self.value - earlier.value, self.control - earlier.control)


class Figure(NamedTuple):
    """A result, and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


class Failed(Exception):
    """A program did not do what its row measures, so its time would mean nothing."""


class Run(NamedTuple):
    """A run of a program: when it was started, the marks that it wrote, when it had ended."""

    output: str
    started: Reading
    ended: Reading

    def marks(self) -> list[Reading]:
        written = [_reading(line) for line in self.output.splitlines()]
        return [self.started, *written, self.ended]


def whole_life(run: Run) -> Reading:
    return run.ended.since(run.started)


def after_mark(run: Run) -> Reading:
    """Return the time from the program's only mark to its end, as its parent sees it."""
    return run.ended.since(run.marks()[1])


def between_marks(run: Run) -> Reading:
    marks = run.marks()
    return marks[2].since(marks[1])


def printed(run: Run) -> Reading:
    """Return a number that the program itself measured."""
    return _reading(run.output)


def _reading(text: str) -> Reading:
    value, control = map(float, text.split())
    return Reading(value, control)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A program in an environment, and what is measured."""

    command: Sequence[str]
    environment: Mapping[str, str]
    read: Callable[[Run], Reading] = whole_life
    status: int = 0
    reports: bool = False


class Stage:
    """Where programs run: each gets the same descriptors, whatever its variant.

    Descriptor 3, which may be a crash output, is a pipe; standard output, to which
    the marks are written, is another; standard error is a file, as for most services.
    """

    def __init__(self, folder: Path) -> None:
        self._errors = str(folder / "stderr")
        self._crash = _Pipe()
        self._output = _Pipe()
        self._actions = (
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, self._output.write_end, 1),
            (os.POSIX_SPAWN_OPEN, 2, self._errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, self._crash.write_end, CRASH_FD),
        )

    def run(self, variant: Variant) -> Run:
        """Run by posix_spawn, which does not copy the parent (vfork(2)): that would take time."""
        started = time.monotonic()
        pid = os.posix_spawn(
            variant.command[0],
            list(variant.command),
            dict(variant.environment),
            file_actions=self._actions,
        )
        _, status, usage = os.wait4(pid, 0)
        ended = time.monotonic()
        output, crash = self._output.drain(), self._crash.drain()
        if os.waitstatus_to_exitcode(status) != variant.status or bool(crash) != variant.reports:
            errors = Path(self._errors).read_text(errors="replace")
            what = (status, len(crash), variant.command, errors)
            raise Failed("wait status %d, %d bytes of crash output\n%s\n%s" % what)
        cpu = usage.ru_utime + usage.ru_stime
        return Run(output.decode(), Reading(started, 0.0), Reading(ended, cpu))

    def interleave(self, variants: Mapping[str, Variant], rounds: int) -> dict[str, list[Reading]]:
        """Return every variant's readings, one for each round; the first round only warms up.

        The order changes, because otherwise the caches that a program leaves behind
        would always help the same neighbour.
        """
        readings: dict[str, list[Reading]] = {name: [] for name in variants}
        names = list(variants)
        for done in range(rounds + 1):
            random.shuffle(names)
            for name in names:
                reading = variants[name].read(self.run(variants[name]))
                if done:
                    readings[name].append(reading)
        return readings


class _Pipe:
    """A pipe that is read after the program's end: the output fits into its buffer."""

    def __init__(self) -> None:
        self._read_end, self.write_end = (_moved_up(fd) for fd in os.pipe())
        os.set_blocking(self._read_end, False)

    def drain(self) -> bytes:
        try:
            return os.read(self._read_end, 1 << 20)
        except BlockingIOError:
            return b""


def _moved_up(fd: int) -> int:
    """Move the descriptor away from the numbers that the programs get."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    os.close(fd)
    return moved


def of_medians(formula: Callable[..., float], *series: Sequence[float]) -> Figure:
    """Return ``formula`` of the medians of ``series``."""
    return _bootstrap(lambda rounds: formula(*map(statistics.median, zip(*rounds))), series)


def of_rounds(formula: Callable[..., float], *series: Sequence[float]) -> Figure:
    """Return the median of ``formula`` for each round.

    If the machine is sometimes twice as slow for minutes, this interval is a quarter
    as wide, because the runs of a round share the same conditions.
    """
    return _bootstrap(lambda rounds: statistics.median([formula(*r) for r in rounds]), series)


def _bootstrap(
    result: Callable[[Sequence[Sequence[float]]], float], series: Sequence[Sequence[float]]
) -> Figure:
    """Return the 95 % interval by resampling the rounds, with replacement.

    Whole rounds are drawn: a disturbance affects all variants of a round, and separating
    them would count it as uncertainty.
    """
    rounds = list(zip(*series))
    results = sorted(result(random.choices(rounds, k=len(rounds))) for _ in range(_RESAMPLES))
    tail = _RESAMPLES // 40
    return Figure(result(rounds), results[tail], results[-tail - 1])


def quotient(on: float, off: float) -> float:
    return on / off


def difference(on: float, off: float) -> float:
    return on - off
