"""How a figure comes about: variants run by turns, medians, and an interval around each result.

The machine that measures does other things too, and what it does changes within
seconds. So the variants of a row never run one after the other: each round runs
every variant once, in a new order, and what is compared are medians over the rounds.
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
_FIRST_FREE = 10  # below are the numbers that a program gets


class Reading(NamedTuple):
    """What one run of a program gave, and the same seen by a calmer measure.

    For a time, ``control`` is the processor's, user and system: it leaves out the
    wait for a free processor, where others use the machine as well.
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
    """A program did not do what its row is about, so that its time would mean nothing."""


class Run(NamedTuple):
    """One program's life: when it was started, the marks that it wrote, when it had ended."""

    output: str
    started: Reading
    ended: Reading

    def marks(self) -> list[Reading]:
        written = [_reading(line) for line in self.output.splitlines()]
        return [self.started, *written, self.ended]


def whole_life(run: Run) -> Reading:
    return run.ended.since(run.started)


def after_mark(run: Run) -> Reading:
    """From the program's one mark to its end, as its parent sees it."""
    return run.ended.since(run.marks()[1])


def between_marks(run: Run) -> Reading:
    marks = run.marks()
    return marks[2].since(marks[1])


def printed(run: Run) -> Reading:
    """What the program itself found out."""
    return _reading(run.output)


def _reading(text: str) -> Reading:
    value, control = map(float, text.split())
    return Reading(value, control)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A program in an environment, and what is read off its run."""

    command: Sequence[str]
    environment: Mapping[str, str]
    read: Callable[[Run], Reading] = whole_life
    status: int = 0
    reports: bool = False


class Stage:
    """Where programs run: each gets the same descriptors, whatever its variant.

    Descriptor 3, where a crash output may be, is a pipe; standard output, which
    carries the marks, is another; standard error is a file, as with most services.
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
        """posix_spawn does not copy the parent (vfork(2)), whose size would be in the time."""
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
        """Every variant's readings, one for each round; a first round only warms caches up.

        The order is drawn anew, for what a program leaves behind in the caches
        would otherwise always be to the good of the same neighbour.
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
    """Read only after the program's end: what is written here fits a pipe's buffer."""

    def __init__(self) -> None:
        self._read_end, self.write_end = (_moved_up(fd) for fd in os.pipe())
        os.set_blocking(self._read_end, False)

    def drain(self) -> bytes:
        try:
            return os.read(self._read_end, 1 << 20)
        except BlockingIOError:
            return b""


def _moved_up(fd: int) -> int:
    """Away from the numbers that the programs get, one of which it may be."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    os.close(fd)
    return moved


def of_medians(formula: Callable[..., float], *series: Sequence[float]) -> Figure:
    """``formula`` of the medians of ``series``."""
    return _bootstrap(lambda rounds: formula(*map(statistics.median, zip(*rounds))), series)


def of_rounds(formula: Callable[..., float], *series: Sequence[float]) -> Figure:
    """The median of what ``formula`` gives for each round.

    Where the machine is sometimes twice as slow for minutes, the interval of this
    one is a quarter as wide, because the runs of a round share their neighbours.
    """
    return _bootstrap(lambda rounds: statistics.median([formula(*r) for r in rounds]), series)


def _bootstrap(
    result: Callable[[Sequence[Sequence[float]]], float], series: Sequence[Sequence[float]]
) -> Figure:
    """The 95 % interval by drawing as many rounds again, with replacement.

    Whole rounds: what disturbed a round disturbed all of its variants, and taking
    them apart would count that as uncertainty.
    """
    rounds = list(zip(*series))
    results = sorted(result(random.choices(rounds, k=len(rounds))) for _ in range(_RESAMPLES))
    tail = _RESAMPLES // 40
    return Figure(result(rounds), results[tail], results[-tail - 1])


def quotient(on: float, off: float) -> float:
    return on / off


def difference(on: float, off: float) -> float:
    return on - off
