"""Damage streams at random, and check that nothing raises and no intact report is lost.

A third of the streams have messages that quote headers, and no damage: each report is
found, and no quotation. A third are damaged. The others have both, and there a report
may be lost: if a report is cut off, its quotations cannot be told from what follows.

``python tests/fuzz_streams.py --cases 20000 --seed 1``; a case that fails prints its
seed, and ``--cases 1 --seed SEED`` runs only that one. The exit status is 1 if any failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if importlib.util.find_spec("crashenv") is None:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._reading.build import record  # noqa: E402
from crashenv._reading.encode import to_json  # noqa: E402
from crashenv._reading.frames import Frame, Splitter  # noqa: E402

CASES = 20_000
CORPUS = ROOT / "tests" / "corpus"

Span = tuple[int, int]


class Stream:
    """Bytes, and the positions of the whole reports in them."""

    def __init__(self) -> None:
        self.data = b""
        self.reports: list[Span] = []

    def add(self, data: bytes, is_report: bool = False) -> None:
        if is_report:
            self.reports.append((len(self.data), len(self.data) + len(data)))
        self.data += data

    def replace(self, start: int, end: int, new: bytes) -> None:
        """Replace bytes; reports that this touches are no longer whole."""
        shift = len(new) - (end - start)
        self.data = self.data[:start] + new + self.data[end:]
        kept = []
        for first, last in self.reports:
            if last <= start:
                kept.append((first, last))
            elif first >= end:
                kept.append((first + shift, last + shift))
        self.reports = kept


# --- parts of streams


def corpus() -> list[tuple[bytes, bool]]:
    """Return reports and dumps that interpreters wrote."""
    parts = []
    for path in sorted(CORPUS.glob("*/*.txt")):
        # A seed must always give the same case, so files that were added later are left out.
        if path.stat().st_size < 3000 and path.stem != "five_threads":
            splitter = Splitter()
            for frame in splitter.feed(path.read_bytes()) + splitter.close():
                parts.append((frame.raw, frame.kind == "report"))
    return parts


_PARTS = corpus()
_PLAIN_PARTS = [part for part in _PARTS if part[0].count(b"crashenv: report") < 2]


def report(choose: random.Random, quotes: bool) -> bytes:
    """Return an invented report."""
    lines = ["Traceback (most recent call last):"]
    for _ in range(choose.randrange(4)):
        lines += ['  File "/srv/app.py", line %d, in load' % choose.randrange(99), "    load()"]
    lines.append(
        "app.Error: %s" % choose.choice(["", "boom", "größe", "x" * choose.randrange(300)])
    )
    for _ in range(choose.choice((0, 0, 0, 1, 3)) if quotes else 0):
        number = choose.choice((0, 1, 5, 40, 300, 5000, 10**18, choose.randrange(900)))
        forged = "crashenv: report kind=exception pid=1 bytes=%d" % number
        lines.append(choose.choice(("", "mid ")) + forged)
        lines.append(choose.choice(("abc", "", "KeyError: 'x'")))
    body = ("\n".join(lines) + "\n").encode()
    program = choose.choice(("app.py", "a%20b.py", "x" * choose.randrange(200)))
    fields = "kind=thread pid=%d thread=T program=%s" % (choose.randrange(9999), program)
    return b"crashenv: report %s bytes=%d\n" % (fields.encode(), len(body)) + body


def foreign(choose: random.Random) -> bytes:
    """Return lines of a log, some of them odd."""
    lines = (
        b"2026-11-22 INFO all is well\n",
        b"\n",
        b"    indented\n",
        b"ValueError: as an other program prints it\n",
        b"Traceback (most recent call last):\n",
        b"crashenv: ValueError: boom; crashenv show 2f6c\n",
        b"said: crashenv: report kind=exception bytes=30\n",
        bytes(choose.randrange(256) for _ in range(choose.randrange(60))).replace(b"\n", b"")
        + b"\n",
        b"x" * choose.randrange(2000) + b"\n",
    )
    return b"".join(choose.choices(lines, k=choose.randrange(1, 5)))


def stream(choose: random.Random, quotes: bool) -> Stream:
    made = Stream()
    for _ in range(choose.randrange(1, 9)):
        part = choose.random()
        if part < 0.45:
            made.add(*choose.choice(_PARTS if quotes else _PLAIN_PARTS))
        elif part < 0.85:
            made.add(report(choose, quotes), is_report=True)
        else:
            made.add(foreign(choose))
    return made


# --- damage


def truncate(made: Stream, choose: random.Random) -> None:
    made.replace(choose.randrange(len(made.data)), len(made.data), b"")


def cut_report(made: Stream, choose: random.Random) -> None:
    """Cut a report off, as if its writer had run out of time."""
    if made.reports:
        start, end = choose.choice(made.reports)
        made.replace(choose.randrange(start + 1, end + 1), end, b"")


def delete(made: Stream, choose: random.Random) -> None:
    start = choose.randrange(len(made.data))
    made.replace(start, start + choose.choice((1, 7, choose.randrange(1, 2000))), b"")


def insert(made: Stream, choose: random.Random) -> None:
    start = choose.randrange(len(made.data) + 1)
    new = choose.choice((b"\n", b"x", b"\0" * 512, foreign(choose), choose.choice(_PARTS)[0][:50]))
    made.replace(start, start, new)


def overwrite(made: Stream, choose: random.Random) -> None:
    start = choose.randrange(len(made.data))
    end = min(len(made.data), start + choose.choice((1, 4, 100)))
    made.replace(start, end, choose.randbytes(end - start))


def change_length(made: Stream, choose: random.Random) -> None:
    if made.reports:
        start, _ = choose.choice(made.reports)
        first = made.data.index(b" bytes=", start) + 7
        last = made.data.index(b"\n", first)
        number = choose.choice((b"", b"-1", b"0", b"1", b"99999999999999999999", b"1" + b"0" * 18))
        made.replace(first, last, choose.choice((number, b"%d" % choose.randrange(5000))))


DAMAGES = (truncate, cut_report, cut_report, delete, insert, overwrite, change_length)


# --- the check


def run(seed: int) -> str:
    """Return what is wrong with the case, or an empty string."""
    choose = random.Random(seed)
    quotes, damaged = choose.choice(((True, False), (False, True), (True, True)))
    made = stream(choose, quotes)
    for _ in range(choose.choice((1, 1, 2, 3)) if damaged else 0):
        if made.data:
            choose.choice(DAMAGES)(made, choose)
    frames, skipped = split(made.data, [len(made.data)])
    if sum(len(frame.raw) for frame in frames) + skipped != len(made.data):
        return "bytes are neither in a frame nor skipped"
    sizes = [choose.choice((1, 3, 50, 1000)) for _ in range(7)]
    pieces, also_skipped = split(made.data, sizes)
    if [(f.raw, f.damage) for f in pieces] != [(f.raw, f.damage) for f in frames]:
        return "pieces of %r make a difference" % sizes
    if also_skipped != skipped:
        return "pieces of %r skip something else" % sizes
    for frame in frames:
        to_json(record(frame))
    lost = missing(made, frames)
    if not damaged and any(frame.damage for frame in frames):
        return "took a quotation for a report"
    return "" if quotes and damaged else lost


def split(data: bytes, sizes: Sequence[int]) -> tuple[list[Frame], int]:
    splitter = Splitter()
    frames: list[Frame] = []
    position = number = 0
    while position < len(data):
        size = sizes[number % len(sizes)]
        frames += splitter.feed(data[position : position + size])
        position += size
        number += 1
    frames += splitter.close()
    return frames, splitter.skipped


def missing(made: Stream, frames: Sequence[Frame]) -> str:
    """Return whole reports that were not found, except those that damage put into another."""
    found = [frame.raw for frame in frames if frame.damage is None]
    for start, end in made.reports:
        raw = made.data[start:end]
        if raw not in found and not any(raw in whole for whole in found):
            return "lost the report at %d, %r" % (start, raw[:60])
        if raw in found:
            found.remove(raw)
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=CASES, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    options = parser.parse_args(arguments)
    failed = 0
    for seed in range(options.seed, options.seed + options.cases):
        problem = run(seed)
        if problem:
            failed += 1
            print("seed %d: %s" % (seed, problem), flush=True)
    print("%d cases from seed %d, %d failed" % (options.cases, options.seed, failed))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
