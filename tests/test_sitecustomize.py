"""``sitecustomize/`` with others: before them, after them, and loaded by them in all ways."""

from __future__ import annotations

import os
import sys
import unittest

from tests.driver import SITECUSTOMIZE, ProgramTest, environment, run

# How an agent's sitecustomize loads the next one, after it has left the path.
FIND = """
import sys, os
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if entry != here]
agent = 'agent'
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
spec = PathFinder.find_spec('sitecustomize', sys.path)
"""
# As in New Relic's and ddtrace's, and other ways of the import system.
WAYS = {
    "load_module": "if spec: spec.loader.load_module('sitecustomize')",
    "load_module, new module": (
        "if spec:\n    del sys.modules['sitecustomize']; spec.loader.load_module('sitecustomize')"
    ),
    "import": (
        "before = sys.modules.pop('sitecustomize')\n"
        "try: import sitecustomize\n"
        "except ImportError: sys.modules['sitecustomize'] = before"
    ),
    "import_module": (
        "import importlib\nbefore = sys.modules.pop('sitecustomize')\n"
        "try: importlib.import_module('sitecustomize')\n"
        "except ImportError: sys.modules['sitecustomize'] = before"
    ),
    "exec_module": "if spec: spec.loader.exec_module(module_from_spec(spec))",
    "exec_module, registered": (
        "if spec: sys.modules['sitecustomize'] = m = module_from_spec(spec); "
        "spec.loader.exec_module(m)"
    ),
    "exec_module, in a function": (
        "def load(): spec.loader.exec_module(module_from_spec(spec))\nif spec: load()"
    ),
    "exec_module, by another name": (
        "if spec:\n"
        "    spec = spec_from_file_location('next', spec.origin)\n"
        "    sys.modules['next'] = module = module_from_spec(spec)\n"
        "    spec.loader.exec_module(module)\n"
        "    own = [name for name in vars(module) if name[:2] != '__']\n"
        "    if own: print(own)"
    ),
    "run_path": "import runpy\nif spec: runpy.run_path(spec.origin)",
    "run_module": (
        "import runpy\nbefore = sys.modules.pop('sitecustomize')\n"
        "try: runpy.run_module('sitecustomize')\n"
        "except ImportError: pass\nsys.modules['sitecustomize'] = before"
    ),
    "reload": (
        "import importlib\nkept = __spec__\n"
        "try: importlib.reload(sys.modules['sitecustomize'])\n"
        "except ImportError: __spec__ = kept"
    ),
    "exec of the file": "if spec: exec(compile(open(spec.origin).read(), spec.origin, 'exec'), {})",
    "exec of the text": "if spec: exec(open(spec.origin).read())",
    "load_source": "import imp\nif spec: imp.load_source('sitecustomize', spec.origin)",
    "imp.load_module": (
        "import imp\n"
        "try: imp.load_module('sitecustomize', *imp.find_module('sitecustomize', sys.path))\n"
        "except ImportError: pass"
    ),
}
# An agent that registers its own module, which is empty then, has lost the one before.
LEFT = ("exec_module, registered", "load_module, new module")
NEXT = "print('next', __file__)\nnext_one = 'next'\n"
SHOW = """
import sys
print([entry for entry in sys.path if 'importer' not in entry])
module = sys.modules.get('sitecustomize')
if module:
    print({key: getattr(module, key, None) for key in ('__name__', '__file__', '__doc__')})
    print(module.__spec__ and (module.__spec__.name, module.__spec__.origin), module.__loader__)
    names = [name for name in vars(module) if name[:2] != '__']
    print(sorted(set(names) - {'before', 'imp', 'module', 'own'}))
raise ValueError('boom')
"""


def is_there(way: str) -> bool:
    if "imp" in way.split(".") or way == "load_source":
        return sys.version_info < (3, 12)
    return not way.startswith("load_module") or sys.version_info < (3, 15)


class Loaded(ProgramTest):
    def setUp(self) -> None:
        super().setUp()
        self.write("next/sitecustomize.py", NEXT)

    def check(self, *folders: str) -> None:
        """Check for the same ending with and without our folder, and a report if it is on."""
        ours = str(SITECUSTOMIZE)
        others = os.pathsep.join(folder for folder in folders if folder != ours)
        without = run(SHOW, env=environment(PYTHONPATH=others))
        self.assertIn(b"ValueError: boom", without.stderr)
        for pydebug in ("crashfd={fd}", ""):
            path = os.pathsep.join(folders)
            result = self.run_with(SHOW, pydebug=pydebug, env={"PYTHONPATH": path})
            self.assertEqual(result.ending(), without.ending(), "\n%s\n\n%s" % (without, result))
            kinds = [report.kind for report in result.reports]
            self.assertEqual(kinds, ["exception"] if pydebug else [], str(result))

    def agent(self, way: str) -> str:
        number = list(WAYS).index(way)
        return os.path.dirname(self.write("agent%d/sitecustomize.py" % number, FIND + WAYS[way]))

    def test_behind_an_agent_and_before_another(self) -> None:
        for way in filter(is_there, WAYS):
            with self.subTest(way):
                self.check(self.agent(way), str(SITECUSTOMIZE), str(self.folder / "next"))

    def test_behind_an_agent_and_last(self) -> None:
        for way in filter(is_there, WAYS):
            with self.subTest(way):
                if way not in LEFT:
                    self.check(self.agent(way), str(SITECUSTOMIZE))

    def test_module_that_an_agent_has_registered_is_left_empty(self) -> None:
        for way in filter(is_there, LEFT):
            with self.subTest(way):
                folders = self.agent(way), str(SITECUSTOMIZE)
                result = self.run_with(SHOW, env={"PYTHONPATH": os.pathsep.join(folders)})
                self.assertTrue(result.stdout.endswith(b"\n[]\n"), str(result))
                self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))

    def test_before_an_agent(self) -> None:
        for way in filter(is_there, WAYS):
            with self.subTest(way):
                self.check(str(SITECUSTOMIZE), self.agent(way), str(self.folder / "next"))

    def test_between_agents(self) -> None:
        for way in filter(is_there, WAYS):
            with self.subTest(way):
                after = self.write("again/sitecustomize.py", FIND + WAYS[way])
                next_one = str(self.folder / "next")
                self.check(self.agent(way), str(SITECUSTOMIZE), os.path.dirname(after), next_one)

    def test_agent_that_is_a_package(self) -> None:
        source = FIND.replace("abspath(__file__)", "dirname(os.path.abspath(__file__))")
        source += WAYS["load_module"]
        self.write("agent/sitecustomize/__init__.py", source)
        if is_there("load_module"):
            self.check(str(self.folder / "agent"), str(SITECUSTOMIZE))

    def test_behind_an_agent_that_removes_modules(self) -> None:
        """As Datadog's does with what it loaded for itself, and the interpreter had."""
        for name in ("_thread", "_signal", "_weakref", "marshal", "os", "time"):
            with self.subTest(name):
                source = FIND + "sys.modules.pop(%r, None)\n" % name + WAYS["exec_module"]
                self.write("agent/sitecustomize.py", source)
                folders = self.folder / "agent", SITECUSTOMIZE, self.folder / "next"
                self.check(*map(str, folders))

    def test_before_a_folder_of_that_name(self) -> None:
        # A namespace package, like a checkout of this project on the path.
        (self.folder / "root" / "sitecustomize").mkdir(parents=True)
        self.check(str(SITECUSTOMIZE), str(self.folder / "root"))


if __name__ == "__main__":
    unittest.main()
