"""Measure every budget, beside what else a user could pick: ``python run.py [--quick]``.

Prints Markdown tables for the interpreter that runs this; needs PyPI once, to
fill throw-away virtual environments. The exit status is 1 if a budget was missed.
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

from tests.benchmarks.rows import Benchmarks, Row  # noqa: E402

RUNS = 300
QUICK = 20
_HEAD = ("what", "at most", "measured", "95 % interval", "CPU time, by rounds", "met?")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    runs = options.runs or (QUICK if options.quick else RUNS)
    tables = {}
    with tempfile.TemporaryDirectory(prefix="crashenv-benchmarks-") as folder:
        os.chdir(folder)  # "python -c" looks for modules in the current folder
        benchmarks = Benchmarks(Path(folder), runs)
        tables["Budgets"] = _collect(benchmarks.budgets())
        if not options.no_alternatives:
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
    parser.add_argument("--no-alternatives", action="store_true", help="measure only crashenv")
    return parser


def _collect(rows: Iterable[Row]) -> list[Row]:
    """Shows on stderr how far it is, for it takes minutes."""
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
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| %s |" % " | ".join(cells)


def _cells(row: Row) -> Sequence[str]:
    """A unit stands for a difference or a count; without one, it is a ratio."""
    digits = 0 if row.unit else 3
    limit = spread = cpu = ""
    if row.limit is not None:
        limit = ("%.*f %s" % (digits, row.limit, row.unit)).strip()
    if row.figure is not None and row.figure.low < row.figure.high:
        spread = "%.*f to %.*f" % (digits, row.figure.low, digits, row.figure.high)
    if row.cpu is not None:
        cpu = "%.3f (%.3f to %.3f)" % row.cpu
    return row.what, limit, _measured(row), spread, cpu, row.met()


def _measured(row: Row) -> str:
    if row.figure is None:
        return row.note
    value = "%d %s" % (row.figure.value, row.unit) if row.unit else "%.3f" % row.figure.value
    return "%s (%s)" % (value, row.note) if row.note else value


def _json(tables: dict[str, list[Row]], runs: int) -> str:
    content = {
        title.lower(): [{**dataclasses.asdict(row), "met": row.met()} for row in rows]
        for title, rows in tables.items()
    }
    return json.dumps({"machine": _machine(runs), **content}, indent=2)


if __name__ == "__main__":
    sys.exit(main())
