"""Measure every budget, and alternatives: ``python run.py [--quick]``.

It prints Markdown tables for the interpreter that runs it, and needs PyPI once, to
fill temporary virtual environments. The exit status is 1 if a budget was missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # as with "python -m tests.benchmarks.run" from there

from tests.benchmarks.rows import PARTS, Benchmarks  # noqa: E402
from tests.benchmarks.table import Row  # noqa: E402

RUNS = 300
QUICK = 20
_LEGEND = """
A ratio without a unit is one of instructions where it has no interval, and else of the
medians of processor time; the control is the median of the rounds' ratios of wall time.
For memory, the control is the private pages alone. "noise": the two disagree, or neither
is certain."""
_HEAD = ("what", "at most", "measured", "95 % interval", "control", "met?")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    runs = options.runs or (QUICK if options.quick else RUNS)
    tables = {}
    with tempfile.TemporaryDirectory(prefix="crashenv-benchmarks-") as folder:
        os.chdir(folder)  # "python -c" looks for modules in the current folder
        benchmarks = Benchmarks(Path(folder), runs)
        tables["Budgets"] = _collect(benchmarks.budgets(options.only or PARTS))
        if not options.only and not options.no_alternatives:
            tables["Alternatives"] = _collect(benchmarks.alternatives())
        os.chdir(os.pardir)
    if options.json:
        print(_json(tables, runs))
    else:
        print(_markdown(tables, runs))
    return int(any(row.met() == "no" for row in tables["Budgets"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure crashenv's budgets.")
    parser.add_argument("--runs", type=int, metavar="N", help="of each start (default %d)" % RUNS)
    parser.add_argument("--quick", action="store_true", help="%d runs: a smoke test" % QUICK)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure only this part")
    parser.add_argument("--no-alternatives", action="store_true", help="measure only crashenv")
    return parser


def _collect(rows: Iterable[Row]) -> list[Row]:
    """Show the progress on stderr, because it takes minutes."""
    collected = []
    for row in rows:
        print(row.what, _measured(row), row.met(), sep="  ", file=sys.stderr, flush=True)
        collected.append(row)
    return collected


def _machine(runs: int) -> str:
    where = (platform.python_implementation(), platform.python_version(), platform.system())
    return "%s %s, %s %s %s, %d processors, %d runs" % (
        *where,
        platform.release(),
        platform.machine(),
        os.cpu_count() or 0,
        runs,
    )


def _markdown(tables: dict[str, list[Row]], runs: int) -> str:
    lines = [_machine(runs)]
    for title, rows in tables.items():
        lines += ["", "**%s**" % title, "", _line(_HEAD), _line(["---"] * len(_HEAD))]
        lines += [_line(_cells(row)) for row in rows]
    return "\n".join([*lines, _LEGEND])


def _line(cells: Sequence[str]) -> str:
    return "| %s |" % " | ".join(cells)


def _cells(row: Row) -> Sequence[str]:
    limit = "" if row.limit is None else _value(row, row.limit)
    return row.what, limit, _measured(row), _interval(row), _control(row), row.met()


def _value(row: Row, value: float) -> str:
    """Format it: with a unit it is a difference or a count, without one a ratio."""
    return "%d %s" % (value, row.unit) if row.unit else "%.3f" % value


def _measured(row: Row) -> str:
    if row.figure is None:
        return row.note
    value = _value(row, row.figure.value)
    return "%s (%s)" % (value, row.note) if row.note else value


def _interval(row: Row) -> str:
    if row.figure is None or row.figure.low == row.figure.high:
        return ""
    return "%s to %s" % (_value(row, row.figure.low), _value(row, row.figure.high))


def _control(row: Row) -> str:
    if row.control is None:
        return ""
    return "%s (%s to %s)" % tuple(_value(row, part) for part in row.control)


def _json(tables: dict[str, list[Row]], runs: int) -> str:
    content = {
        title.lower(): [{**dataclasses.asdict(row), "met": row.met()} for row in rows]
        for title, rows in tables.items()
    }
    return json.dumps({"machine": _machine(runs), **content}, indent=2)


if __name__ == "__main__":
    sys.exit(main())
