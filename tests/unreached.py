"""Print the lines of a watched process that no test reaches; needs Python 3.12.

Run it with the interpreter of a virtual environment that has crashenv, as tox does. A ``.pth``
file that sorts before crashenv's makes each process append every new line to a file,
by ``sys.monitoring`` (PEP 669), which sees all threads and is inherited by a fork. coverage.py
begins too late for the start, and writes at an exit that crashing programs do not have.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

# Opened for each line: a program may close all descriptors, or limit the size of files.
_RECORDER = """
import os, sys
path, package, open, write, close = {path!r}, {package!r}, os.open, os.write, os.close
def line(code, number):
    if code.co_filename.startswith(package):
        try:
            fd = open(path, 1 | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                write(fd, b"%s:%d\\n" % (os.fsencode(code.co_filename), number))
            finally:
                close(fd)
        except OSError:
            pass
    return sys.monitoring.DISABLE
if not sys.monitoring.get_tool(1):
    sys.monitoring.use_tool_id(1, "lines")
    sys.monitoring.register_callback(1, sys.monitoring.events.LINE, line)
    sys.monitoring.set_events(1, sys.monitoring.events.LINE)
"""


def main() -> int:
    site = Path(sysconfig.get_path("purelib"))
    package = site / "crashenv"
    with tempfile.TemporaryDirectory(prefix="crashenv-lines-") as folder:
        path = os.path.join(folder, "lines")
        recorder, startup = site / "aaa_lines.py", site / "aaa_lines.pth"
        recorder.write_text(_RECORDER.format(path=path, package=str(package)))
        startup.write_text("import aaa_lines\n")
        try:
            subprocess.run(
                [sys.executable, "-m", "unittest", "discover", "-t", ".", "-s", "tests"],
                check=False,
            )
        finally:
            recorder.unlink()
            startup.unlink()
        reached = set(Path(path).read_text(errors="replace").split("\n"))
    for source in _sources(package):
        lines = sorted(_lines(source) - {int(n) for n in _numbers(reached, source)})
        text = source.read_text().splitlines()
        for number in lines:
            print("%s:%d: %s" % (source.relative_to(package), number, text[number - 1].strip()))
    return 0


def _sources(package: Path) -> Iterator[Path]:
    yield from (
        package / name
        for name in ("__init__.py", "_hooks.py", "_crash.py", "_crash_rare.py", "_api.py")
    )
    yield from sorted((package / "_seldom").glob("*.py"))


def _numbers(reached: set[str], source: Path) -> Iterator[str]:
    for line in reached:
        path, _, number = line.rpartition(":")
        if path == str(source):
            yield number


def _lines(source: Path) -> set[int]:
    """Return the lines that have code, except those for type checkers."""
    tree = ast.parse(source.read_text())
    tree.body = [node for node in tree.body if not _is_for_checkers(node)]
    found: set[int] = set()
    waiting = [compile(tree, str(source), "exec")]
    while waiting:
        code = waiting.pop()
        body = {line for _, _, line in code.co_lines() if line}
        found |= body - {code.co_firstlineno} if code.co_name != "<module>" else body
        waiting += [const for const in code.co_consts if isinstance(const, CodeType)]
    return found


def _is_for_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


if __name__ == "__main__":
    sys.exit(main())
