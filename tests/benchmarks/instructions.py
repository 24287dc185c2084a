"""The rows that are counted in instructions, by ``valgrind --tool=callgrind``.

The same program gives the same count, with a fixed PYTHONHASHSEED, so one run is enough, and
a difference of a thousandth is visible. Paths have the same length in all variants, because
the interpreter looks each of them up.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.benchmarks import programs
from tests.benchmarks.environments import Environments
from tests.benchmarks.measure import CRASH_FD, Failed, Figure
from tests.benchmarks.table import Row

_ON = {"PYDEBUG": "crashfd=%d" % CRASH_FD}
_START = ("-c", "pass")
_COUNT = re.compile(r"Collected : (\d+)")
_MODULES = 300
# The cost before the exception is subtracted: it is that of a run that ends there.
_CRASH = programs.CRASH_WITH_TRACEBACK
_NO_CRASH = _CRASH.replace("    mark()\n", "    os._exit(0)\n")
_OLD = sys.version_info < (3, 10)


class InstructionBenchmarks:
    """``installed`` and the others are the interpreters of virtual environments."""

    def __init__(self, folder: Path, environments: Environments, installed: str) -> None:
        self._folder = folder
        self._installed = installed
        self._commented = environments.copy_with_comment(installed, "commented")
        self._emptied = environments.copy_with_empty_package(installed, "emptiedxx")
        self._bare = environments.create("barexxxxx")
        self._sitecustomize = environments.copy_of_sitecustomize()

    def rows(self) -> Iterator[Row]:
        if not shutil.which("valgrind"):
            yield Row("instructions", note="valgrind is not installed")
            return
        unset = self._count(self._installed)
        yield _ratio(
            "start, `PYDEBUG=crashfd=3` / unset", 1.035, self._count(self._installed, _ON), unset
        )
        yield _ratio(
            "its floor: the same, with an empty package",
            None,
            self._count(self._emptied, _ON),
            unset,
        )
        yield _ratio(
            "start, unset / an empty comment for the `.pth` line",
            1.010,
            unset,
            self._count(self._commented),
        )
        bare = self._count(self._bare)
        what = "start through `sitecustomize/`, unset / bare"
        folder = {"PYTHONPATH": self._sitecustomize}
        yield _ratio(what, 1.010, self._count(self._bare, folder), bare)
        empty = self._folder / "empty" / "sitecustomize"
        empty.mkdir(parents=True)
        folder = {"PYTHONPATH": str(empty)}
        what = "its floor: the same, with an empty folder"
        yield _ratio(what, None, self._count(self._bare, folder), bare)
        yield self._crash_row()
        yield self._imports_row()

    def _crash_row(self) -> Row:
        on, off = (
            self._count(self._installed, changes, self._program("crash", _CRASH), status=1)
            - self._count(self._installed, changes, self._program("still", _NO_CRASH))
            for changes in (_ON, {})
        )
        what = "from `raise` to the end, `traceback` loaded, on / off"
        return _ratio(what, 1.08 if _OLD else 1.05, on, off)

    def _imports_row(self) -> Row:
        """Subtract the additional cost of the start itself."""
        package = self._folder / "modules"
        package.mkdir()
        for number in range(_MODULES):
            (package / ("small%d.py" % number)).write_text("x = %d\n" % number)
        loop = (
            "import sys\nsys.path.insert(0, %r)\nfor n in range(%d): __import__('small%%d' %% n)\n"
        )
        many, none = (
            self._program(name, loop % (str(package), count))
            for name, count in (("many", _MODULES), ("none", 0))
        )
        self._count(self._installed, {}, many)  # compiles them
        on, off = (
            self._count(self._installed, changes, many)
            - self._count(self._installed, changes, none)
            for changes in (_ON, {})
        )
        return _ratio("%d imports, on / off" % _MODULES, 1.005, on, off)

    def _program(self, name: str, source: str) -> Sequence[str]:
        path = self._folder / (name + ".py")
        path.write_text(source)
        return (str(path),)

    def _count(
        self,
        python: str,
        changes: Mapping[str, str] | None = None,
        arguments: Sequence[str] = _START,
        status: int = 0,
    ) -> int:
        variables = {
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONHASHSEED": "0",
        }
        valgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
        read_end, write_end = os.pipe()
        script = 'exec "$@" %d>&%d' % (CRASH_FD, write_end)
        done = subprocess.run(
            ("/bin/bash", "-c", script, "bash", *valgrind, python, *arguments),
            env={**variables, **(changes or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=(write_end,),
        )
        os.close(write_end)
        with open(read_end, "rb") as file:
            reported = bool(file.read())
        text = done.stderr.decode(errors="replace")
        counted = _COUNT.search(text)
        if done.returncode != status or reported != bool(status and changes) or not counted:
            raise Failed("status %d, %s\n%s" % (done.returncode, arguments, text))
        return int(counted.group(1))


def _ratio(what: str, limit: float | None, on: int, off: int) -> Row:
    value = on / off
    note = "%.3f / %.3f million" % (on / 1e6, off / 1e6)
    return Row(what, limit, Figure(value, value, value), note=note)
