"""The rows about ``crashenv run``."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.measure import Reading, Run, Stage, Variant, of_medians, printed
from tests.benchmarks.table import Row, ratio_row

_MOST_START = 1.2
_MOST_MEMORY = 16 << 10  # KiB
_MOST_DELAY = 50  # ms
_MOST_NOTE = 2000  # ns

# What a monitor cannot do without: pipes that signal, prctl(2), no end of the interpreter.
_FORK = """
import os, fcntl, _ctypes
pid = os.fork()
if not pid:
    os.execv("/bin/true", ["/bin/true"])
os.waitpid(pid, 0)
os._exit(0)
"""
# Prints the highest resident memory of its parent, in KiB.
_PEAK = """
import os, time
%s
for line in open("/proc/%%d/status" %% os.getppid()):
    if line.startswith("VmHWM:"):
        print(line.split()[1], line.split()[1])
"""
_ONE_REPORT = """
import glob, threading
thread = threading.Thread(target=lambda: 1/0)
thread.start()
thread.join()
while not glob.glob(os.environ["XDG_STATE_HOME"] + "/crashenv/*.json"):
    time.sleep(0.001)
"""
# The mark is the last thing that the program does before it dies.
_DEATHS = {
    "SIGKILL": ("import os, time\nprint(time.time(), 0, flush=True)\nos.kill(os.getpid(), 9)", 9),
    "`abort()`": ("import os, time\nprint(time.time(), 0, flush=True)\nos.abort()", 6),
    "an exception": ("import time\nprint(time.time(), 0, flush=True)\n1/0", 0),
}


# Nanoseconds of processor time for a note, after the first one.
_NOTES = """
import crashenv, time
text = "order 1234, step 2"
crashenv.note(text)
best = []
for _ in range(20):
    begin = time.process_time_ns()
    for _ in range(5_000): crashenv.note(text)
    best.append((time.process_time_ns() - begin) / 5_000)
print(sorted(best)[10], min(best))
"""


class MonitorBenchmarks:
    def __init__(
        self, folder: Path, stage: Stage, python: str, variables: Mapping[str, str], rounds: int
    ) -> None:
        self._state = folder / "state"
        self._stage = stage
        self._python = python
        self._rounds = rounds
        self._environment = {**variables, "XDG_STATE_HOME": str(self._state)}
        self._crashenv = str(Path(python).parent / "crashenv")

    def rows(self) -> Iterator[Row]:
        yield from self._start_rows()
        yield self._memory_row("peak memory of the monitor", "")
        yield self._memory_row("peak memory of the monitor, after a report", _ONE_REPORT)
        yield self._note_row()
        for name, (source, signum) in _DEATHS.items():
            yield self._delay_row(name, source, signum)

    def _start_rows(self) -> Iterator[Row]:
        commands = {
            "python": (self._python, "-c", "pass"),
            "run": (self._crashenv, "run", "--", "/bin/true"),
            "floor": (self._python, "-c", _FORK),
            "module": (self._python, "-m", "crashenv", "run", "--", "/bin/true"),
        }
        tini = shutil.which("tini")
        if tini:
            commands["tini"] = (tini, "-s", "--", "/bin/true")
        variants = {name: Variant(command, self._environment) for name, command in commands.items()}
        readings = self._stage.interleave(variants, self._rounds)
        for name, what, limit in (
            ("run", "`crashenv run -- true`", _MOST_START),
            ("floor", "its floor: fork, execve and wait, with `fcntl` and `_ctypes`", None),
            ("module", "`python -m crashenv run -- true`", None),
            ("tini", "`tini -s -- true`", None),
        ):
            if name in readings:
                row = what if name == "floor" else what + " / `python -c pass`"
                yield ratio_row(row, limit, readings[name], readings["python"])

    def _memory_row(self, what: str, before: str) -> Row:
        command = (self._crashenv, "run", "--quiet", "--", self._python, "-c", _PEAK % before)
        readings = self._readings(Variant(command, self._environment, self._read_peak))
        figure = of_medians(float, [reading.value for reading in readings])
        return Row(what, _MOST_MEMORY, figure, unit="KiB")

    def _read_peak(self, run: Run) -> Reading:
        shutil.rmtree(self._state, ignore_errors=True)
        return printed(run)

    def _note_row(self) -> Row:
        command = (self._crashenv, "run", "--quiet", "--", self._python, "-c", _NOTES)
        readings = self._readings(Variant(command, self._environment, printed))
        figure = of_medians(float, [reading.value for reading in readings])
        return Row("`crashenv.note()`, also where the page is full", _MOST_NOTE, figure, unit="ns")

    def _delay_row(self, name: str, source: str, signum: int) -> Row:
        command = (self._crashenv, "run", "--quiet", "--", self._python, "-c", source)
        status = -signum if signum else 1
        readings = self._readings(Variant(command, self._environment, self._read_delay, status))
        delays = [reading.value for reading in readings]
        note = "95 %% within %d ms" % statistics.quantiles(delays, n=20)[-1]
        what = "from %s to the stored report" % name
        return Row(what, _MOST_DELAY, of_medians(float, delays), unit="ms", note=note)

    def _read_delay(self, run: Run) -> Reading:
        """Read the delay from the file's modification time, in jiffies of 1 to 10 ms."""
        (path,) = (self._state / "crashenv").iterdir()
        delay = 1000 * (os.stat(path).st_mtime - printed(run).value)
        shutil.rmtree(self._state)
        return Reading(delay, delay)

    def _readings(self, variant: Variant) -> Sequence[Reading]:
        return self._stage.interleave({"": variant}, max(20, self._rounds // 5))[""]
