"""The rows about ``crashenv parse`` and ``crashenv list``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.measure import (
    Reading,
    Run,
    Stage,
    Variant,
    difference,
    of_medians,
    of_rounds,
    printed,
    quotient,
    whole_life,
)
from tests.benchmarks.streams import mixed
from tests.benchmarks.table import Row, Series, ratio_row

_REPORTS = 10_000
_RECORDS = 1_000
# ms for 1 MB: 40 and 25 MB/s
_MOST_TIME = 40.0 if sys.version_info < (3, 11) else 25.0
_MOST_MEMORY = 20 << 10  # KiB
_MOST_LIST = 2.0
_SIZES = (10, 100, 1000)  # MB
_MOST_GROWTH = 1.2  # time per byte of the longest, divided by that of the shortest
_FEW = 3  # rounds if each takes a minute

# Runs a command in this interpreter, then prints its highest resident memory, in KiB.
_PEAK = """
import os, sys
kept = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
%s
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        os.write(kept, b"%%d %%d" %% (2 * (int(line.split()[1]),)))
"""
_PARSE = "from crashenv.__main__ import main\nmain(['parse', '-q', %r])"
_READ_FILES = """
import os, sys
folder = sys.argv[1] + "/"
for name in os.listdir(folder):
    fd = os.open(folder + name, os.O_RDONLY | os.O_CLOEXEC)
    os.read(fd, 4096)
    os.close(fd)
"""
# The parts of inputs that are made to be slow.
_HOSTILE = {
    "one line": b"x",
    "newlines": b"\n",
    "beginnings of headers": b"crashenv: report ",
    "headers": b"crashenv: report kind=x bytes=3000000\n",
    "headers inside a line": b"x crashenv: report kind=x bytes=3000000\n",
    "frames": b'  File "a", line 1, in f\n',
    "links of a chain": (
        b"\n\nThe above exception was the direct cause of the following exception:\n"
    ),
    "groups": (
        b"  + Exception Group Traceback (most recent call last):\n  +-+---------------- 1 ---\n"
    ),
    "omissions": b"  x\n[crashenv: 1 bytes left out]\n",
    "threads": b"\n\nThread 0x1 (most recent call first):\n",
    "colons": b": ",
    "quotation marks": b'", line ',
    "timeouts behind a prefix": b"2026-01-01 12:00:00 Timeout (0:00:01)! of a thing\n",
    "tracebacks behind a prefix": b"ERROR:root: Traceback (most recent call last):\n",
    "titles of tracebacks": b"Traceback (most recent call last):\n",
    "lines of JSON": b'{"log":"Traceback (most recent call last):\\n","stream":"stderr"}\n',
    "titles of groups": (
        b"  + Exception Group Traceback (most recent call last):\n"
        b'  |   File "a.py", line 3, in f\n  | ExceptionGroup: x (2 sub-exceptions)\n'
    ),
}


class ReadingBenchmarks:
    def __init__(
        self, folder: Path, stage: Stage, python: str, variables: Mapping[str, str], rounds: int
    ) -> None:
        self._folder = folder / "reading"
        self._folder.mkdir()
        self._stage = stage
        self._python = python
        self._rounds = rounds
        self._environment = dict(variables)
        self._crashenv = str(Path(python).parent / "crashenv")
        self._mixed = self._folder / "mixed.log"
        self._mixed.write_bytes(b"".join(mixed(_REPORTS)))

    def rows(self) -> Iterator[Row]:
        yield self._rate_row()
        yield self._memory_row()
        yield from self._list_rows()
        yield from self._growth_rows()
        yield from self._hostile_rows()

    def _silent(self, *command: str, read: Callable[[Run], Reading] = whole_life) -> Variant:
        """Discard its output, which is more than a pipe holds."""
        shell = ("/bin/sh", "-c", 'exec "$@" >/dev/null', "sh")
        return Variant((*shell, *command), self._environment, read)

    def _parse(self, path: Path, *options: str) -> Variant:
        return self._silent(self._crashenv, "parse", "--quiet", *options, str(path))

    def _start(self) -> Variant:
        return self._silent(self._python, "-c", "pass")

    def _rate_row(self) -> Row:
        size = self._mixed.stat().st_size / 1e6
        variants = {"parse": self._parse(self._mixed), "bare": self._start()}
        readings = self._stage.interleave(variants, max(10, self._rounds // 10))
        parse, bare = Series.of(readings["parse"]), Series.of(readings["bare"])

        def milliseconds(on: float, off: float) -> float:
            return 1000 * (on - off) / size

        figure = of_medians(milliseconds, parse.values, bare.values)
        control = of_rounds(milliseconds, parse.controls, bare.controls)
        rates = 1000 / figure.value, 1000 / control.value
        note = "%.1f MB of %d reports; %.0f MB/s, %.0f of processor time"
        what = "`crashenv parse`, time for 1 MB, less a bare start"
        text = note % (size, _REPORTS, *rates)
        return Row(what, _MOST_TIME, figure, control, unit="ms", note=text)

    def _memory_row(self) -> Row:
        parse = (self._python, "-c", _PEAK % (_PARSE % str(self._mixed)))
        bare = (self._python, "-c", _PEAK % "")
        variants = {
            "parse": Variant(parse, self._environment, printed),
            "bare": Variant(bare, self._environment, printed),
        }
        readings = self._stage.interleave(variants, max(10, self._rounds // 10))
        on, off = (Series.of(readings[name]).values for name in ("parse", "bare"))
        what = "peak memory of `crashenv parse`, less that of a bare interpreter"
        return Row(what, _MOST_MEMORY, of_medians(difference, on, off), unit="KiB")

    def _list_rows(self) -> Iterator[Row]:
        store = self._folder / "store"
        source = "import sys\n%s" % _FILL
        subprocess.run([self._python, "-c", source, str(self._mixed), str(store)], check=True)
        variants = {
            "list": self._silent(self._crashenv, "list", "--store", str(store)),
            "floor": self._silent(self._python, "-c", _READ_FILES, str(store)),
            "bare": self._start(),
        }
        readings = self._stage.interleave(variants, self._rounds)
        what = "`crashenv list` of %d records / `python -c pass`" % _RECORDS
        yield ratio_row(what, _MOST_LIST, readings["list"], readings["bare"])
        what = "its floor: each file opened, read and closed"
        yield ratio_row(what, None, readings["floor"], readings["bare"])

    def _growth_rows(self) -> Iterator[Row]:
        """Measure the time per byte; a start takes a hundredth of the shortest."""
        data = self._mixed.read_bytes()
        paths = {}
        for size in _SIZES:
            paths[size] = self._folder / ("%d.log" % size)
            with open(paths[size], "wb") as file:
                while file.tell() < size * 1_000_000:
                    file.write(data[: size * 1_000_000 - file.tell()])
        variants = {str(size): self._parse(paths[size]) for size in _SIZES}
        readings = self._stage.interleave(variants, _FEW)
        for path in paths.values():
            path.unlink()
        least = _SIZES[0]
        for size in _SIZES[1:]:
            scale = size / least
            what = "`crashenv parse`, time for a byte, of %d MB / of %d MB" % (size, least)
            longer = [scaled(reading, 1 / scale) for reading in readings[str(size)]]
            yield ratio_row(what, _MOST_GROWTH, longer, readings[str(least)])

    def _hostile_rows(self) -> Iterator[Row]:
        """Compare with eight times the input, per byte, where quadratic time would be visible."""
        worst: tuple[float, str, Sequence[Reading], Sequence[Reading]] | None = None
        for framed in (False, True):
            for name, piece in _HOSTILE.items():
                readings = self._hostile_readings(piece, framed)
                ratio = quotient(*(min(r.control for r in readings[n]) for n in ("large", "small")))
                if worst is None or ratio > worst[0]:
                    text = name + (" in a report" if framed else "")
                    worst = ratio, text, readings["large"], readings["small"]
        assert worst is not None
        what = "the same, of 4 MB / of 0.5 MB, of %d inputs made to be slow the worst: %s"
        yield ratio_row(what % (2 * len(_HOSTILE), worst[1]), None, worst[2], worst[3])

    def _hostile_readings(self, piece: bytes, framed: bool) -> dict[str, list[Reading]]:
        variants = {}
        for name, size in (("small", 500_000), ("large", 4_000_000)):
            body = piece * (size // len(piece)) + b"\n"
            header = b"crashenv: report kind=exception bytes=%d\n" % len(body) if framed else b""
            path = self._folder / (name + ".hostile")
            path.write_bytes(header + body)
            variants[name] = self._parse(path, "--tracebacks")
        readings = self._stage.interleave({**variants, "bare": self._start()}, _FEW)
        start = min(reading.control for reading in readings["bare"])
        return {
            name: [scaled(less(reading, start), 1 / scale) for reading in readings[name]]
            for name, scale in (("small", 1), ("large", 8))
        }


_FILL = """
from crashenv._reading.encode import to_json
from crashenv._reading.build import record
from crashenv._store import Store
from crashenv._reading.frames import Splitter
splitter = Splitter()
frames = splitter.feed(open(sys.argv[1], "rb").read())
store = Store(sys.argv[2], %d, 1 << 40)
for number, frame in enumerate(frames[:%d]):
    made = record(frame)
    minutes = "%%02d:%%02d" %% divmod(number, 60)
    made["time"] = "2026-11-%%02dT%%s:00.000000Z" %% (number %% 28 + 1, minutes)
    store.add(made["id"], to_json(made).encode())
""" % (_RECORDS, _RECORDS)


def scaled(reading: Reading, factor: float) -> Reading:
    return Reading(reading.value * factor, reading.control * factor)


def less(reading: Reading, start: float) -> Reading:
    return Reading(max(0.001, reading.value - start), max(0.001, reading.control - start))
