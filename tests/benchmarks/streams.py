"""A stream to read: reports and dumps of programs that crash often."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
_LOG_LINE = b"2026-11-22 10:11:12,345 INFO app: order 1234 is on its way, all is well so far\n"
_LARGE = 100_000  # characters of one message in two hundred


def _corpus() -> list[bytes]:
    return [path.read_bytes() for path in sorted(CORPUS.glob("*/*.txt"))]


def mixed(reports: int) -> Iterator[bytes]:
    """Return reports with different process ids, times and messages; dumps and log lines between.

    As in real programs, the places are few, the stacks lead through many more
    functions than in the corpus, and no two reports are the same.
    """
    choose = random.Random(7)
    parts = _corpus()
    for number in range(reports):
        if number % 10 == 0:
            yield _LOG_LINE * choose.randrange(5)
        stream = choose.choice(parts)
        found = re.fullmatch(rb"(crashenv: report .*) bytes=\d+\n([^\0]*)", stream)
        if found is None or b"crashenv: report" in found[2]:
            yield stream
        else:
            yield _another(found[1], found[2], number, choose)


def _another(header: bytes, body: bytes, number: int, choose: random.Random) -> bytes:
    header = header.replace(b" pid=7 ", b" pid=%d " % (number + 2))
    header = re.sub(rb"\.\d{6}Z", b".%06dZ" % number, header)
    frames = b"".join(_frame(choose.randrange(500)) for _ in range(choose.randrange(30)))
    first = b"Traceback (most recent call last):\n"
    body = body.replace(first, first + frames, 1)
    body = body[:-1] + b" (order %d%s)\n" % (number, b"x" * _LARGE * (number % 200 == 0))
    return b"%s bytes=%d\n%s" % (header, len(body), body)


def _frame(number: int) -> bytes:
    place = b'  File "/srv/app/package%d/module_%d.py", line %d, in handle_%d\n'
    source = b"    return self.dispatch(request, *arguments, order=%d)\n" % number
    marks = b"           ~~~~~~~~~~~~~^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
    return place % (number % 7, number % 50, number, number) + source + marks * (number % 2)
