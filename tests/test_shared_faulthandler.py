"""faulthandler has one descriptor: a program that asks for the dump gets it."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
import unittest
from pathlib import Path
from typing import Any

from tests.driver import PYPY, Result, WatchedTest

KILL = "\nimport os\ndef culprit(): os.kill(os.getpid(), %d)\nculprit()\n"
SEGV = KILL % signal.SIGSEGV
VIEW = """
import faulthandler, sys
print(faulthandler.is_enabled())
print(faulthandler.enable(), faulthandler.is_enabled())
print(faulthandler.disable(), faulthandler.disable(), faulthandler.is_enabled())
print(faulthandler.enable(open(sys.argv[1], 'w'), all_threads=False), faulthandler.is_enabled())
print(faulthandler.enable(sys.stderr, True), faulthandler.is_enabled())
for wrong in ('x', -1, object()):
    try: faulthandler.enable(wrong)
    except Exception as error: print(type(error).__name__)
print(faulthandler.is_enabled(), faulthandler.disable())
"""


class Shared(WatchedTest):
    """The program gets what it asked for, as without us; the crash output gets the rest."""

    def check_program(self, program: list[str], **options: Any) -> Result:
        """Check that the program gets its dump, and the crash output nothing."""
        result = self.run_both(program, **options)
        self.assertEqual(result.status, -signal.SIGSEGV, str(result))
        self.assertIn(b" in culprit\n", result.stderr)
        self.assertEqual(result.crash, b"")
        return result

    def test_not_asked_for(self) -> None:
        result = self.check_dump(["-c", SEGV], signal.SIGSEGV)
        self.assertEqual(result.stderr, b"")

    def test_asked_for_at_the_start(self) -> None:
        for options, env in (
            (["-X", "faulthandler"], {}),
            (["-X", "dev"], {}),
            ([], {"PYTHONFAULTHANDLER": "1"}),
            ([], {"PYTHONDEVMODE": "1"}),
        ):
            with self.subTest(options=options, env=env):
                self.check_program([*options, "-c", SEGV], env=env)

    def test_asked_for_by_the_program(self) -> None:
        self.check_program(["-c", "import faulthandler; faulthandler.enable()" + SEGV])
        self.check_program(["-c", "from faulthandler import enable; enable(2, True)" + SEGV])

    def test_disabled_again(self) -> None:
        program = "import faulthandler; faulthandler.enable(); faulthandler.disable()" + SEGV
        for options in ([], ["-X", "faulthandler"]):
            with self.subTest(options):
                result = self.check_dump([*options, "-c", program], signal.SIGSEGV)
                self.assertEqual(result.stderr, b"")

    def test_exceptions_are_reported_beside(self) -> None:
        self.check_exception(["-X", "faulthandler", "-c", "1/0"])

    def test_stderr_that_is_redirected_later(self) -> None:
        path = self.folder / "log"
        redirect = "import os, sys; os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), 2)"
        result = self.run_both(["-X", "faulthandler", "-c", redirect + SEGV, str(path)])
        self.assertEqual(result.stderr, b"")
        self.assertIn(" in culprit\n", path.read_text())

    def test_a_file_of_the_program(self) -> None:
        path = str(self.folder / "own.log")
        # only faulthandler keeps the file object
        enable = "import faulthandler, sys; faulthandler.enable(open(sys.argv[1], 'w'))"
        result = self.run_both(["-c", enable + SEGV, path])
        self.assertEqual(result.stderr, b"")
        self.assertIn(" in culprit\n", Path(path).read_text())

    def test_the_programs_view(self) -> None:
        path = str(self.folder / "own.log")
        for options in ([], ["-X", "faulthandler"]):
            with self.subTest(options):
                self.check_silent([*options, "-c", VIEW, path])

    @unittest.skipIf(PYPY, "PyPy's functions are not those of C")
    def test_the_functions_look_the_same(self) -> None:
        program = """
            import copy, faulthandler, inspect, pickle, pydoc, weakref
            print(dir(faulthandler), [name for name, _ in inspect.getmembers(faulthandler)])
            for name in ('enable', 'disable', 'is_enabled', 'register', 'unregister'):
                function = getattr(faulthandler, name)
                print(repr(function).partition(' at ')[0], function.__self__ is faulthandler)
                print(function.__name__, function.__module__, function.__doc__)
                print(pydoc.render_doc(function, renderer=pydoc.plaintext))
                print(inspect.isbuiltin(function), pickle.loads(pickle.dumps(function)) is function)
                print(copy.deepcopy(function) is weakref.ref(function)(), vars(faulthandler)[name])
                try: function.attribute = 1
                except AttributeError: print('AttributeError')
            """
        self.check_silent(program)

    def test_module_looks_the_same(self) -> None:
        """The start creates it without an import."""
        source = """
            import faulthandler as f, importlib, sys
            for module in f, importlib.reload(f):
                print(module, vars(module.__spec__), module.__spec__.parent, module.__loader__)
                print(repr(module.__package__), dir(module), sys.modules['faulthandler'] is module)
            1/0
            """
        result = self.run_both(source)
        self.assertEqual([report.kind for report in result.reports], ["exception"], str(result))

    def test_imported_by_an_asterisk(self) -> None:
        self.check_silent("from faulthandler import *\nenable(); print(is_enabled(), disable())")

    def test_function_that_the_program_replaced_first(self) -> None:
        program = """
            import faulthandler
            faulthandler.enable = lambda: print('replaced')
            print(faulthandler.is_enabled(), faulthandler.enable(), faulthandler.is_enabled())
            """
        result = self.check_silent(program)
        self.assertEqual(result.stdout, b"replaced\nFalse None False\n")

    def test_code_that_cannot_be_executed(self) -> None:
        audit = """
            import sys
            def audit(event, args):
                if event == 'exec': raise MemoryError
            sys.addaudithook(audit)
            """
        program = textwrap.dedent(audit) + (
            "import faulthandler\n"
            "print(hasattr(faulthandler, 'missing'), *dir(faulthandler))\n"
            "print(faulthandler.enable(), faulthandler.is_enabled(), faulthandler.disable())\n"
        )
        self.check_silent(program)
        self.check_silent(textwrap.dedent(audit) + "import faulthandler; print(dir(faulthandler))")
        self.check_silent(textwrap.dedent(audit) + "from faulthandler import *\nenable(2)")

    def test_enable_that_fails(self) -> None:
        """As without a file in ``sys.stderr``: no frame of ours is in what it raises."""
        program = """
            import faulthandler, io, os, sys, traceback
            stderr = sys.stderr
            for wrong in (None, io.StringIO()):
                sys.stderr = wrong
                try: faulthandler.enable()
                except Exception: traceback.print_exc(file=stderr)
                print(faulthandler.is_enabled())
            sys.stderr = stderr
            if 'DIE' in os.environ: os.kill(os.getpid(), 11)
            faulthandler.enable(file='x')
            """
        result = self.run_both(program)
        self.assertIn(b"UnsupportedOperation", result.stderr)
        self.assertEqual(result.stdout, b"False\nFalse\n")
        self.assertIn("most recent call first", self.run_with(program, env={"DIE": "1"}).dump)

    def test_replacement_that_cannot_be_loaded(self) -> None:
        """Then the program has faulthandler to itself, and sees it as without us."""
        program = """
            import faulthandler, sys
            def hook(event, args):
                if event == 'import' and args[0] == 'crashenv._seldom.faults': raise RuntimeError
            sys.addaudithook(hook)
            print(faulthandler.is_enabled(), faulthandler.enable(), faulthandler.is_enabled())
            """
        self.check_silent(program)

    def test_core_signals_that_the_program_registers(self) -> None:
        program = """
            import faulthandler, os, signal
            faulthandler.register(signal.SIGQUIT, chain=False)
            os.kill(os.getpid(), signal.SIGQUIT)
            print(faulthandler.unregister(signal.SIGQUIT), faulthandler.unregister(signal.SIGTRAP))
            os.kill(os.getpid(), signal.SIGQUIT)
            """
        result = self.run_both(program)
        self.assertEqual(result.stdout, b"True False\n" if result.stdout else b"")
        self.assertEqual(result.status, -signal.SIGQUIT)
        self.assertIn("most recent call first", result.dump)

    def test_mistakes_in_unregister_are_the_programs(self) -> None:
        program = """
            import faulthandler, sys
            calls = [((), {}), ((3,), {}), ((3, 4), {}), (([],), {})]
            if sys.implementation.name == 'cpython': calls.append(((), {'signum': 3}))
            for args, kwargs in calls:
                try: print(faulthandler.unregister(*args, **kwargs))
                except TypeError as error: print(error)
            """
        self.check_silent(program)

    def test_forked_child(self) -> None:
        program = "import os\nif os.fork(): print(os.wait()[1])\nelse: os.kill(os.getpid(), 11)"
        result = self.run_both(["-X", "faulthandler", "-c", program])
        self.assertIn(b"Segmentation fault", result.stderr)
        self.assertEqual(self.run_both(["-c", program]).dump.count("Segmentation fault"), 1)

    def test_no_process_of_ours(self) -> None:
        program = """
            import faulthandler, os
            faulthandler.enable()
            try: print(os.wait())
            except ChildProcessError: print('no child')
            """
        self.check_silent(program)

    def test_crash_output_turned_off(self) -> None:
        program = "import crashenv; crashenv.set_crash_output(None)" + SEGV
        result = self.run_with(["-X", "faulthandler", "-c", program])
        self.assertIn(b" in culprit\n", result.stderr)
        self.assertEqual(result.crash, b"")


@unittest.skipUnless(hasattr(os, "posix_spawn"), "needs os.posix_spawn")
class Relay(WatchedTest):
    """The process that writes dumps to a file that may block, such as a socket."""

    def test_not_seen_by_wait_and_gone_with_the_program(self) -> None:
        program = """
            import os, signal
            signal.signal(signal.SIGCHLD, lambda *_: print('SIGCHLD'))
            try: print(os.wait())
            except ChildProcessError: print('no child')
            """
        # CrashOutput.finish() waits until no process has the socket open.
        self.check_silent(program, output="socket")
        self.check_dump(["-c", SEGV], signal.SIGSEGV, output="socket")

    def test_first_process_of_a_container_has_none(self) -> None:
        unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
        try:
            subprocess.run([*unshare, "true"], check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.CalledProcessError):
            self.skipTest("needs unshare(1) and the right to make a PID namespace")
        program = """
            import os
            print(os.getpid())
            try: os.wait()
            except ChildProcessError: print('no child', flush=True)
            """
        result = self.check_silent(program, launcher=unshare, output="socket")
        self.assertEqual(result.stdout, b"1\nno child\n", str(result))


if __name__ == "__main__":
    unittest.main()
