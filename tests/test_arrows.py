"""Imports go one way: the dying side imports nothing of the reading side."""

from __future__ import annotations

import ast
import sys
import unittest
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.driver import INSTALLED, ROOT, CommandTest, importable, needs_monitor, run
from tests.test_stream import report

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

import crashenv

SOURCES = Path(crashenv.__file__).parent
SELDOM = {path.stem for path in (SOURCES / "_seldom").glob("*.py")} - {"__init__"}
DYING = {
    *("__init__", "_api", "_hooks", "_wire", "_crash", "_crash_rare", "_seldom"),
    *("_seldom." + name for name in SELDOM),
}
# Each ends in a different way, and prints what was imported by then.
PROGRAM = """
import atexit, os, sys, threading
def show():
    print(*sorted(name for name in sys.modules if name.partition(".")[0] == "crashenv"), flush=True)
atexit.register(show)
thread = threading.Thread(target=lambda: 1/0)
thread.start()
thread.join()
if not os.fork():
    1/0
os.wait()
try:
    1/0
except ZeroDivisionError as error:
    raise ValueError from error
"""
NEEDED_BY_RUN = {
    *("__main__", "_cli", "_monitor", "_monitor.loop", "_monitor.oom", "_monitor.program"),
    *("_parent", "_store"),
}
NOT_FOR_LIST = {"argparse", "collections", "datetime", "json", "re", "subprocess", "typing"}


def imports(source: str) -> set[str]:
    """Return our modules that are imported, except those for type checkers."""
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "''"):
            nodes += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "crashenv":
            below = str(node.module).partition(".")[2]
            found.update(below + "." * bool(below) + alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            ours = [name for name in names if name.partition(".")[0] == "crashenv"]
            found.update(name.partition(".")[2] or "__init__" for name in ours)
        nodes += ast.iter_child_nodes(node)
    return {name for name in found if name.startswith("_")}


def graph() -> dict[str, set[str]]:
    """Return for each module of the package the modules that it imports anywhere."""
    modules = {}
    for path in SOURCES.rglob("*.py"):
        parts = path.relative_to(SOURCES).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = path
    found = {}
    for name, path in modules.items():
        nearest = {_module(target, modules) for target in imports(path.read_text())}
        found[name] = nearest - {name}
    return found


def _module(target: str, modules: Collection[str]) -> str:
    """``a.b.name`` may be a name in ``a.b``."""
    while target and target not in modules:
        target = target.rpartition(".")[0]
    return target or "__init__"


def rooms(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the same for folders, and for the files beside them."""
    found: dict[str, set[str]] = {}
    for name, targets in modules.items():
        room = name.partition(".")[0]
        found.setdefault(room, set()).update(target.partition(".")[0] for target in targets)
    return {room: targets - {room} for room, targets in found.items()}


class Sources(unittest.TestCase):
    def test_there_are_no_circles(self) -> None:
        modules = graph()
        self.assertIn("_wire", modules["_store"])
        for arrows in (modules, rooms(modules)):
            list(TopologicalSorter(arrows).static_order())  # raises CycleError

    def test_circle_would_be_noticed(self) -> None:
        modules = {"_a.x": {"_b.y"}, "_b.y": set(), "_b.z": {"_a.x"}}
        list(TopologicalSorter(modules).static_order())
        with self.assertRaises(CycleError):
            list(TopologicalSorter(rooms(modules)).static_order())

    def test_dying_side_imports_only_itself(self) -> None:
        for name in DYING:
            with self.subTest(name):
                path = SOURCES / (name.replace(".", "/") + ".py")
                if name != "_seldom":
                    found = {_module(target, DYING) for target in imports(path.read_text())}
                    self.assertLessEqual(found, DYING)

    def test_monitor_does_not_know_the_command_line(self) -> None:
        paths = [*(SOURCES / "_monitor").glob("*.py"), SOURCES / "_parent.py"]
        self.assertGreater(len(paths), 5)
        for path in paths:
            with self.subTest(path.name):
                names = {name.partition(".")[0] for name in imports(path.read_text())}
                self.assertNotIn("_cli", names)

    def test_sinks_know_neither_commands_nor_the_monitor(self) -> None:
        paths = list((SOURCES / "_sinks").glob("*.py"))
        self.assertGreater(len(paths), 5)
        for path in paths:
            with self.subTest(path.name):
                names = {name.partition(".")[0] for name in imports(path.read_text())}
                known = {"_sinks", "_reading", "_store", "_redact", "_wire", "__init__"}
                self.assertLessEqual(names, known)

    def test_it_would_be_noticed(self) -> None:
        for source in (
            "from crashenv._reading import build",
            "from crashenv._reading.build import record",
            "import crashenv._reading.build",
            "def f():\n    if x:\n        from crashenv._reading import build",
        ):
            self.assertEqual({name[:8] for name in imports(source)}, {"_reading"}, source)
        self.assertEqual(imports("if TYPE_CHECKING:\n    from crashenv._reading import x"), set())


class Processes(CommandTest):
    def test_crash_imports_no_reading_module(self) -> None:
        result = self.run_with(PROGRAM)
        lines = result.stdout.decode().splitlines()
        self.assertEqual(len(lines), 2, str(result))
        for line in lines:
            names = {name.partition(".")[2] or "__init__" for name in line.split()}
            self.assertIn("__init__", names)
            self.assertLessEqual(names, DYING)

    def test_splitter_needs_nothing_but_the_format(self) -> None:
        source = "import sys; before = set(sys.modules); import crashenv._reading.frames"
        output = run(
            source + "; print(*sorted(set(sys.modules) - before))",
            env={**self.env, "PYTHONPATH": importable()},
        ).stdout
        names = {name.decode() for name in output.split()} - {"bisect", "_bisect"}
        ours = ("crashenv", "crashenv._reading", "crashenv._reading.frames", "crashenv._wire")
        self.assertEqual(names, set(ours))

    @unittest.skipUnless(sys.platform == "linux", "needs crashenv run")
    @needs_monitor
    def test_run_imports_options_only_if_there_are_some(self) -> None:
        source = "import os, sys\nfrom crashenv.__main__ import main\n"
        source += "from crashenv._monitor import loop\nloop._FIRST_LOOK = 3600\nend = os._exit\n"
        source += "os._exit = lambda status: end(print(*sys.modules, file=sys.stderr) or status)\n"
        source += "main(['run', *%r, 'true'])"
        for options, added in (
            ((), set()),
            (("--",), set()),
            (("--quiet", "--"), {"_cli.run", "_cli.sinks", "_cli.options"}),
        ):
            with self.subTest(options):
                result = run(source % (options,), env=self.env)
                self.assertEqual(result.status, 0, str(result))
                loaded = set(result.stderr.decode().split())
                ours = {name.partition(".")[2] for name in loaded if name.startswith("crashenv.")}
                self.assertEqual(ours, NEEDED_BY_RUN | added)

    def test_list_of_a_store_imports_little(self) -> None:
        path = self.folder / "log"
        path.write_bytes(report())
        self.run_monitored([sys.executable, "-c", "1/0"], "--quiet")
        source = "import sys; before = set(sys.modules)\nfrom crashenv.__main__ import main\n"
        source += "main(['list']); print(*sorted(set(sys.modules) - before), file=sys.stderr)"
        result = run(source, env=self.env)
        self.assertIn(b"ZeroDivisionError", result.stdout)
        added = set(result.stderr.decode().split())
        self.assertLessEqual({"crashenv._cli.list"}, added)
        self.assertEqual(added & NOT_FOR_LIST, set())
