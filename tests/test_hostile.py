"""Exceptions that lie, raise, recurse, print or end the process while they are shown."""

from __future__ import annotations

import re
import resource
import sys
import time
import unittest

from tests.driver import PYPY, WatchedTest, split

# Each is raised in the main thread; without crashenv the default hook also gets it.
VALUES = {
    "str raises": "class E(Exception):\n def __str__(self): raise KeyError('inner')",
    "str raises what ends programs": "class E(Exception):\n def __str__(self): raise SystemExit(7)",
    "str recurses": "class E(Exception):\n def __str__(self): return str(self)",
    "str is no text": "class E(Exception):\n def __str__(self): return 5",
    "str prints": "class E(Exception):\n def __str__(self): print('out'); return 'text'",
    "str writes to stderr": (
        "import sys\nclass E(Exception):\n"
        " def __str__(self): sys.stderr.write('from str\\n'); return 'text'"
    ),
    "str replaces stderr": (
        "import io, sys\nclass E(Exception):\n"
        " def __str__(self): sys.stderr = io.StringIO(); return 'text'"
    ),
    "str raises another crash": (
        "import threading\nclass E(Exception):\n def __str__(self):\n"
        "  t = threading.Thread(target=lambda: 1/0); t.start(); t.join(); return 'text'"
    ),
    "repr raises": "class R:\n def __repr__(self): 1/0\nE = lambda: Exception(R(), R())",
    "class lies": "class E(Exception):\n __class__ = property(lambda self: int)",
    "class raises": "class E(Exception):\n __class__ = property(lambda self: 1/0)",
    "metaclass raises": (
        "class M(type):\n"
        " def __getattribute__(cls, name): raise KeyError(name)\n"
        " def __instancecheck__(cls, it): raise KeyError(it)\n"
        " def __subclasscheck__(cls, it): raise KeyError(it)\n"
        "class E(Exception, metaclass=M): pass"
    ),
    "metaclass prints": (
        "class M(type):\n"
        " def __getattribute__(cls, name): print(name); return type.__getattribute__(cls, name)\n"
        "class E(Exception, metaclass=M): pass"
    ),
    "equality raises": "class E(Exception):\n __eq__ = __hash__ = lambda *a: 1/0",
    "attributes raise": (
        "class E(Exception):\n def __getattribute__(self, name): raise KeyError(name)"
    ),
    "cause lies": "class E(Exception):\n __cause__ = property(lambda self: 1/0)",
    "cause is itself": "class E(Exception):\n @property\n def __cause__(self): return self",
    "context raises": "class E(Exception):\n __context__ = property(lambda self: 1/0)",
    "notes raise": "class E(Exception):\n __notes__ = property(lambda self: 1/0)",
    "notes are no list": "class E(Exception):\n __notes__ = 5",
    "notes are no texts": "class E(Exception):\n __notes__ = [5, None, b'x']",
    "traceback lies": "class E(Exception):\n __traceback__ = property(lambda self: 5)",
    "name lies": "class E(Exception): pass\nE.__name__ = E.__qualname__ = 'crashenv: report \\n'",
    "module lies": "class E(Exception):\n __module__ = property(lambda self: 1/0)",
    "file name": (
        "code = compile('1/0', '\\x1b]0;title\\x07\\ncrashenv: report bytes=3\\n', 'exec')\n"
        "E = lambda: exec(code)"
    ),
    "file name is huge": "E = lambda: exec(compile('1/0', 'x' * 1_000_000, 'exec'))",
    "text": (
        "E = lambda: Exception('\\x00\\x1b[31m\\udc80\\u202e\\r\\x9b\\n'"
        " 'crashenv: report bytes=1\\n')"
    ),
    "deep chain": (
        "def E():\n"
        " e = None\n"
        " for _ in range(500):\n"
        "  new = Exception('x'); new.__cause__ = e; e = new\n"
        " return e"
    ),
}
RAISE = "\nraise E()\n"


class Values(WatchedTest):
    def test_main_thread(self) -> None:
        for name, definition in VALUES.items():
            with self.subTest(name):
                result = self.run_both(definition + RAISE)
                reports, outside = split(result.crash)
                self.assertEqual(outside, b"", str(result))
                self.assertEqual([r.kind for r in reports][-1:], ["exception"], str(result))

    def test_thread(self) -> None:
        run = "\nimport threading\ndef f(): raise E()\n"
        run += "t = threading.Thread(target=f)\nt.start()\nt.join()\n"
        for name, definition in VALUES.items():
            with self.subTest(name):
                result = self.run_both(definition + run)
                reports, outside = split(result.crash)
                self.assertEqual(outside, b"", str(result))
                self.assertEqual({r.kind for r in reports}, {"thread"}, str(result))

    def test_displaced_hook(self) -> None:
        # It is formatted once more for the report; only its own output is visible.
        hook = "\nimport sys\nsys.excepthook = lambda *args: print('mine', flush=True)\n"
        shown = {"str prints", "str writes to stderr", "str raises another crash"}
        for name in VALUES.keys() - shown - {"metaclass prints"}:
            with self.subTest(name):
                result = self.run_both(VALUES[name] + hook + RAISE)
                reports, outside = split(result.crash)
                self.assertEqual(outside, b"", str(result))
                self.assertEqual([r.kind for r in reports], ["exception"], str(result))

    def test_str_that_ends_the_process(self) -> None:
        program = "import os\nclass E(Exception):\n def __str__(self): os._exit(7)" + RAISE
        self.assertEqual(self.run_both(program).status, 7)

    def test_str_that_dies_of_a_signal(self) -> None:
        program = "import os\nclass E(Exception):\n def __str__(self): os.kill(os.getpid(), 11)"
        result = self.run_both(program + RAISE)
        self.assertIn("Segmentation fault", result.dump)


class Size(WatchedTest):
    @unittest.skipIf(sys.version_info < (3, 11), "exception groups came with 3.11")
    def test_group_of_a_hundred_thousand(self) -> None:
        program = "raise ExceptionGroup('many', [ValueError(i) for i in range(100_000)])"
        report = self.check_exception(program)
        self.assertIn("and 99985 more exceptions", report.body)

    @unittest.skipIf(PYPY, "PyPy keeps what was freed until it collects garbage")
    def test_memory_for_a_huge_message_is_bounded(self) -> None:
        # The memory that one text needs is already there in the thread that crashes.
        program = """
            import os, sys
            sys.stderr = open(os.devnull, 'w')
            import resource
            text = 'x' * 100_000_000
            def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            def show(kind, value, traceback):
                genuine(kind, value, traceback)
                print(most(), flush=True)
            import atexit
            atexit.register(lambda: print(most()))
            raise ValueError(text)
            """
        before = time.monotonic()
        without, on = (
            int(self.run_with(program, pydebug=pydebug).stdout)
            for pydebug in ("nothing", "crashfd={fd}")
        )
        self.assertLess(on - without, 8 << 10, "KiB more than without")
        self.assertLess(time.monotonic() - before, 60)


class Memory(WatchedTest):
    @unittest.skipIf(PYPY, "PyPy itself may use a null pointer if it has no memory left")
    def test_none_left_while_reporting(self) -> None:
        # From no room at all to enough room: somewhere in between the report fails.
        program = """
            import resource
            kept = []
            status = open('/proc/self/statm').read().split()
            size = int(status[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + %d, resource.RLIM_INFINITY))
            raise ValueError('x' * 30_000)
            """
        if not sys.platform.startswith("linux"):
            self.skipTest("needs /proc")
        for room in (0, 1 << 16, 1 << 18, 1 << 20, 1 << 22):
            with self.subTest(room):
                result = self.run_with(program % room)
                self.assertEqual(result.status, 1, str(result))
                self.assertTrue(result.stderr.startswith(b"Traceback"), str(result))
                self.assertNotIn(b"SystemError", result.stderr)
                for report in result.reports:
                    self.assertIn("ValueError", report.body)

    @unittest.skipIf(resource.getrlimit(resource.RLIMIT_STACK)[0] == 0, "needs a stack")
    def test_stack_nearly_used_up(self) -> None:
        program = "def f(): f()\nf()"
        report = self.check_exception(program)
        self.assertTrue(re.search("RecursionError", report.body))
