"""set_crash_output: a crash output that the program itself sets."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import textwrap
import unittest
import zipapp
from pathlib import Path
from typing import Any

from tests.driver import (
    INSTALLED,
    PYPY,
    ROOT,
    SITECUSTOMIZE,
    Report,
    WatchedTest,
    environment,
    importable,
    run,
    split,
)

# One line each, so that tracebacks are the same.
WITH = "import crashenv, os, sys\n"
WITHOUT = "import os, sys; crashenv = type('', (), {'set_crash_output': lambda *a, **k: None})\n"
LOG = "log = open('crash.log', 'a'); crashenv.set_crash_output(log)\n"
THREAD = """
import threading
thread = threading.Thread(target=lambda: 1/0)
thread.start()
thread.join()
"""


QUIT = "os.kill(os.getpid(), signal.SIGQUIT)\nprint('alive')"
SUBINTERPRETERS = not PYPY and importlib.util.find_spec("_testcapi") is not None


class ApiTest(WatchedTest):
    def environment(self, **changes: str) -> dict[str, str]:
        """Return an environment that can import the package, even without PYDEBUG."""
        if INSTALLED:
            return environment(**changes)
        path = os.pathsep.join([str(SITECUSTOMIZE), str(ROOT / "src")])
        return environment(PYTHONPATH=path, **changes)

    def run_program(self, program: str, **options: Any) -> tuple[bytes, bytes]:
        """Run in the test's folder; stdout and stderr are as without crashenv."""
        without = run(WITHOUT + program, cwd=self.folder, env=self.environment(), **options)
        result = run(WITH + program, cwd=self.folder, env=self.environment(), **options)
        self.assertEqual(result.ending(), without.ending(), str(result))
        return result.stdout, result.stderr

    def output_of(self, program: str, **variables: str) -> list[str]:
        """Return the lines of a program that cannot run without crashenv."""
        result = run(WITH + program, cwd=self.folder, env=self.environment(**variables))
        self.assertEqual((result.status, result.stderr), (0, b""), str(result))
        return result.stdout.decode().splitlines()

    def reports(self, name: str = "crash.log") -> list[Report]:
        reports, outside = split((self.folder / name).read_bytes())
        self.assertEqual(outside, b"")
        return reports

    def check_reports_once(self, program: str) -> Report:
        stderr = self.run_program(program)[1]
        (report,) = self.reports()
        self.assertTrue(stderr.decode().endswith(report.body), report.body)
        return report


class File(ApiTest):
    def test_file_object(self) -> None:
        report = self.check_reports_once(LOG + "1/0")
        self.assertIn("ZeroDivisionError", report.body)

    def test_number(self) -> None:
        open_log = "fd = os.open('crash.log', os.O_WRONLY | os.O_CREAT)\n"
        self.check_reports_once(open_log + "crashenv.set_crash_output(fd); 1/0")

    def test_socket(self) -> None:
        program = """
import socket
ours, theirs = socket.socketpair()
crashenv.set_crash_output(theirs)
theirs.close()
if not os.fork():
    1/0
os.wait()
crashenv.set_crash_output(None)
while True:
    data = ours.recv(65536)
    if not data: break
    open('crash.log', 'ab').write(data)
"""
        result = run(WITH + program, cwd=self.folder, env=self.environment())
        self.assertEqual(self.reports()[0].body.encode(), result.stderr)

    def test_dump(self) -> None:
        self.run_program(LOG + "os.abort()")
        self.assertIn("most recent call first", (self.folder / "crash.log").read_text())

    def test_caller_may_close_the_file(self) -> None:
        self.check_reports_once(LOG + "log.close(); other = open('other', 'w'); 1/0")
        self.assertEqual((self.folder / "other").read_bytes(), b"")

    def test_callers_file_stays_the_callers(self) -> None:
        program = LOG + (
            "crashenv.set_crash_output(None); log.write('still open'); log.close()\n"
            "print(os.path.getsize('crash.log'))"
        )
        self.assertEqual(self.output_of(program), ["10"])

    def test_callers_descriptor_keeps_its_flags(self) -> None:
        program = """
import fcntl
for fd in os.pipe()[1], os.open('crash.log', os.O_WRONLY | os.O_CREAT), os.openpty()[1]:
    flags = [(fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.fcntl(fd, fcntl.F_GETFL))]
    crashenv.set_crash_output(fd)
    flags.append((fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.fcntl(fd, fcntl.F_GETFL)))
    print(flags[0] == flags[1])
"""
        self.assertEqual(self.output_of(program), ["True"] * 3)

    def test_forked_child_reports_too(self) -> None:
        self.run_program(LOG + "pid = os.fork()\nif pid: os.waitpid(pid, 0)\n1/0")
        self.assertEqual(len(self.reports()), 2)

    def test_a_clean_program_writes_nothing(self) -> None:
        self.run_program(LOG + "print('out')")
        self.assertEqual((self.folder / "crash.log").read_bytes(), b"")


class None_(ApiTest):
    def test_turns_it_off(self) -> None:
        self.run_program(LOG + "crashenv.set_crash_output(None)\n" + THREAD + "1/0")
        self.assertEqual(self.reports(), [])

    def test_leaves_a_native_crash_as_it_was(self) -> None:
        self.run_program(LOG + "crashenv.set_crash_output(None); os.abort()")
        self.assertEqual((self.folder / "crash.log").read_bytes(), b"")

    def test_gives_faulthandler_back_to_a_program_that_uses_it(self) -> None:
        enable = "import faulthandler; faulthandler.enable()\n"
        off = "crashenv.set_crash_output(None); os.abort()"
        for program in (enable + LOG + off, LOG + enable + off):
            with self.subTest(program):
                stderr = self.run_program(program)[1]
                self.assertIn(b"most recent call first", stderr)

    def test_gives_signals_back_to_a_program_that_uses_them(self) -> None:
        register = (
            "import faulthandler, signal\n"
            "faulthandler.register(signal.SIGQUIT, all_threads=False, chain=False)\n"
        )
        off = "crashenv.set_crash_output(None)\n" + QUIT
        for program in (register + LOG + off, LOG + register + off):
            with self.subTest(program):
                self.assertEqual(self.run_program(program)[0], b"alive\n")

    def test_leaves_a_handler_that_the_program_has_set_since(self) -> None:
        handle = "import signal; signal.signal(signal.SIGQUIT, lambda *a: print('handled'))\n"
        for call in ("crashenv.set_crash_output(None)", "crashenv.set_crash_output(log)"):
            with self.subTest(call):
                stdout = self.run_program(LOG + handle + call + "\n" + QUIT)[0]
                self.assertEqual(stdout, b"handled\nalive\n")

    def test_before_any_other_call(self) -> None:
        self.run_program("crashenv.set_crash_output(None); 1/0")

    def test_and_on_again(self) -> None:
        self.check_reports_once(LOG + "crashenv.set_crash_output(None)\n" + LOG + "1/0")


class Second(ApiTest):
    TWO = "a = open('a', 'w'); b = open('b', 'w'); [crashenv.set_crash_output(f) for f in (a, b)]\n"

    def test_call_replaces_the_first(self) -> None:
        self.run_program(self.TWO + THREAD + "1/0")
        self.assertEqual(self.reports("a"), [])
        self.assertEqual([r.kind for r in self.reports("b")], ["thread", "exception"])

    def test_call_replaces_the_first_for_dumps(self) -> None:
        self.run_program(self.TWO + "os.abort()")
        self.assertEqual((self.folder / "a").read_bytes(), b"")
        self.assertIn("most recent call first", (self.folder / "b").read_text())

    def test_call_closes_the_private_copy_of_the_first(self) -> None:
        program = (
            LOG
            + """
r, w = os.pipe()
crashenv.set_crash_output(w)
os.close(w)
crashenv.set_crash_output(log)
os.set_blocking(r, False)
print(os.read(r, 1))
"""
        )
        self.assertEqual(self.output_of(program), ["b''"])

    @unittest.skipUnless(os.path.isdir("/proc/self/fd"), "needs /proc")
    def test_calls_by_the_hundred_keep_one_descriptor(self) -> None:
        program = (
            LOG
            + """
before = len(os.listdir('/proc/self/fd'))
for _ in range(100):
    crashenv.set_crash_output(log)
print(len(os.listdir('/proc/self/fd')) - before)
crashenv.set_crash_output(None)
print(len(os.listdir('/proc/self/fd')) - before)
"""
        )
        self.assertEqual(self.output_of(program), ["0", "-1"])

    def test_calls_while_threads_crash_lose_and_leak_nothing(self) -> None:
        program = """
            import crashenv, os, sys, threading
            log = open(sys.argv[1], 'ab')
            sys.stderr = open(os.devnull, 'w')
            crashenv.set_crash_output(log)
            done = False
            def set_again():
                while not done: crashenv.set_crash_output(log)
            def crash(): raise ValueError('x' * 3000)
            setter = threading.Thread(target=set_again)
            setter.start()
            for _ in range(50):
                threads = [threading.Thread(target=crash) for _ in range(2)]
                for t in threads: t.start()
                for t in threads: t.join()
            done = True
            setter.join()
            ours = os.fstat(log.fileno())
            numbers = [int(n) for n in os.listdir('/proc/self/fd')]
            numbers = [n for n in numbers if os.path.exists('/proc/self/fd/%d' % n)]
            print(sum(os.path.samestat(ours, os.fstat(n)) for n in numbers))
            """
        if not os.path.isdir("/proc/self/fd"):
            self.skipTest("needs /proc")
        path = self.folder / "crash.log"
        env = environment(**({} if INSTALLED else {"PYTHONPATH": importable()}))
        result = run(["-c", textwrap.dedent(program), str(path)], env=env)
        self.assertEqual(result.stdout, b"2\n", str(result))  # the caller's and our own
        reports, outside = split(path.read_bytes())
        self.assertEqual((len(reports), outside), (100, b""))

    def test_same_file_again(self) -> None:
        self.check_reports_once(LOG + LOG + "1/0")


class Errors(ApiTest):
    def check_raises(self, name: str, *calls: str) -> None:
        """Check that each call raises ``name``, and that the previous output gets the report."""
        for arguments in calls:
            program = LOG + (
                "try: crashenv.set_crash_output(%s)\n"
                "except Exception as error: print(type(error).__mro__)\n"
                "1/0" % arguments
            )
            with self.subTest(arguments):
                (self.folder / "crash.log").write_bytes(b"")
                result = run(WITH + program, cwd=self.folder, env=self.environment())
                self.assertRegex(result.stdout.decode(), "<class '(%s)'>" % name, str(result))
                (report,) = self.reports()
                self.assertEqual(report.body.encode(), result.stderr)

    def test_no_file(self) -> None:
        self.check_raises("TypeError", "", "'crash.log'", "b'x'", "3.0", "True", "[]", "object()")
        self.check_raises("TypeError", "type('', (), {'fileno': lambda self: 'x'})()", "log, None")

    def test_file_that_is_not_open(self) -> None:
        self.check_raises("OSError", "999", "-1")
        self.check_raises("ValueError", "[f for f in [open(os.devnull)] if f.close() is None][0]")

    def test_file_without_a_descriptor(self) -> None:
        self.check_raises("OSError", "__import__('io').StringIO()")

    def test_number_that_no_descriptor_has(self) -> None:
        for number in ("1 << 31", "1 << 64", "-1 << 31", "-1 << 64"):
            self.check_raises("OSError|ValueError", number)

    def test_file_that_cannot_be_written(self) -> None:
        self.check_raises("ValueError", "open(os.devnull)", "os.pipe()[0]", "os.open('.', 0)")

    def test_setting_of_a_wrong_type(self) -> None:
        self.check_raises("TypeError", "log, threads=1", "log, threads=None", "log, traceback=True")
        self.check_raises("TypeError", "log, timeout='5'", "log, timeout=None", "log, timeout=True")
        self.check_raises("TypeError", "log, limit=2e6", "log, limit='1M'", "log, limit=True")
        self.check_raises("TypeError", "log, signal=12", "log, signal=True", "log, no=1")

    def test_setting_of_a_wrong_value(self) -> None:
        self.check_raises("ValueError", "log, threads='Fatal'", "log, traceback='none'")
        self.check_raises("ValueError", "log, timeout=-1", "log, timeout=float('nan')")
        self.check_raises("ValueError", "log, limit=1023", "log, limit=-1")
        self.check_raises("ValueError", "log, signal='KILL'", "log, signal='no'", "log, signal=''")

    def test_name_that_the_package_does_not_have(self) -> None:
        program = "print(hasattr(crashenv, 'nothing'), sorted(crashenv.__all__))"
        names = "['LogHandler', 'Pipe', 'Reader', 'activate', 'note', 'read', "
        names += "'set_crash_output', 'start_monitor']"
        self.assertEqual(self.output_of(program), ["False " + names])


class Names(unittest.TestCase):
    def test_stub_file_has_the_names_that_are_imported_when_they_are_looked_up(self) -> None:
        source = "import crashenv; print(sorted(dir(crashenv)), crashenv.__all__)"
        spec = importlib.util.find_spec("crashenv") if INSTALLED else None
        package = Path(str(spec.origin)).parent if spec else ROOT / "src" / "crashenv"
        names = sorted(
            name.asname
            for node in ast.parse((package / "__init__.pyi").read_text()).body
            if isinstance(node, ast.ImportFrom)
            for name in node.names
            if name.asname
        )
        self.assertIn("set_crash_output", names)
        result = run(source, env=environment(PYTHONPATH=importable()))
        self.assertEqual(result.stdout.decode().strip(), "%s %s" % (names, names))


class Activate(WatchedTest):
    """If the interpreter runs no ``.pth`` file or ignores its environment."""

    IMPORT = "import sys; sys.path.insert(0, %r); import crashenv; crashenv.activate()\n"

    def setUp(self) -> None:
        super().setUp()
        spec = importlib.util.find_spec("crashenv") if INSTALLED else None
        origin = None if spec is None else spec.origin
        self.parent = Path(origin).parent.parent if origin else ROOT / "src"
        self.source = self.IMPORT % str(self.parent)

    def test_isolated_interpreter(self) -> None:
        for flags in (["-I"], ["-E", "-S"]):
            self.check_silent([*flags, "-c", "1/0"])
            self.check_exception([*flags, "-c", self.source + "1/0"])

    def test_off_without_the_variable(self) -> None:
        result = self.run_both(["-I", "-c", self.source + "1/0"], pydebug="1")
        self.assertEqual(result.crash, b"", str(result))

    def test_twice_is_once(self) -> None:
        self.check_exception(["-c", self.source * 2 + "1/0"])

    def test_reloaded_module(self) -> None:
        source = self.source + "import importlib; importlib.reload(crashenv)\n"
        self.check_reports(source + THREAD, "thread")
        self.check_exception(source + "1/0")

    def test_archive_that_has_it_inside(self) -> None:
        shutil.copytree(self.parent / "crashenv", self.folder / "app" / "crashenv")
        self.write("app/__main__.py", "import crashenv\ncrashenv.activate()\n1/0\n")
        archive = self.folder / "app.pyz"
        zipapp.create_archive(self.folder / "app", archive)
        self.check_exception(["-I", str(archive)])


class Interrupted(ApiTest):
    """If the first call cannot finish."""

    def test_call_succeeds_after_an_audit_hook_has_refused_a_file(self) -> None:
        program = """
            refused = True
            def audit(event, args):
                if refused and event == 'open' and '_crash.' in str(args[0]):
                    raise RuntimeError
            sys.addaudithook(audit)
            log = open('crash.log', 'a')
            try:
                crashenv.set_crash_output(log)
            except RuntimeError:
                refused = False
            crashenv.set_crash_output(log)
            1/0
        """
        self.check_reports_once(textwrap.dedent(program))

    @unittest.skipIf(PYPY, "its functions do not move")
    def test_ctrl_c_leaves_faulthandler_its_functions(self) -> None:
        program = """
            def trace(frame, event, arg):
                global count
                if event == 'line' and 'faults' in frame.f_locals:
                    count -= 1
                    if count == 0:
                        sys.settrace(None)
                        raise KeyboardInterrupt
                return trace

            log = open('crash.log', 'a')
            statuses = set()
            for lines in range(1, 1000):
                pid = os.fork()
                if pid:
                    status = os.waitpid(pid, 0)[1]
                    statuses.add(status)
                    if status:
                        break
                    continue
                count = lines
                sys.settrace(trace)
                try:
                    crashenv.set_crash_output(log)
                except KeyboardInterrupt:
                    pass
                sys.settrace(None)
                import faulthandler
                assert not faulthandler.is_enabled()
                names = 'enable', 'disable', 'register', 'unregister'
                assert all(callable(getattr(faulthandler, name)) for name in names), lines
                os._exit(3 if count > 0 else 0)
            print(lines > 10, statuses == {0, 3 << 8})
        """
        self.assertEqual(self.output_of(textwrap.dedent(program)), ["True True"])


class Keywords(ApiTest):
    def setting(self, settings: str) -> str:
        return "log = open('crash.log', 'a'); crashenv.set_crash_output(log, %s)\n" % settings

    def test_threads_fatal(self) -> None:
        program = WITH + self.setting("threads='fatal'") + THREAD + "print('alive')"
        result = run(program, cwd=self.folder, env=self.environment())
        self.assertEqual((result.status, result.stdout), (1, b""), str(result))
        self.assertEqual(self.reports()[0].body.encode(), result.stderr)

    def test_threads_ignore(self) -> None:
        self.run_program(self.setting("threads='ignore'") + THREAD)
        self.assertEqual(self.reports(), [])

    def test_traceback_all(self) -> None:
        thread = "import _thread; l = _thread.allocate_lock(); l.acquire()\n"
        thread += "def waiting(): ready.release(); l.acquire()\n"
        thread += "ready = _thread.allocate_lock(); ready.acquire()\n"
        thread += "_thread.start_new_thread(waiting, ()); ready.acquire()\n"
        self.run_program(self.setting("traceback='all'") + thread + "1/0")
        (report,) = self.reports()
        self.assertIn(" in waiting\n", report.body)

    def test_limit(self) -> None:
        self.run_program(self.setting("limit=2048") + "raise ValueError('x' * 5000)")
        self.assertLessEqual((self.folder / "crash.log").stat().st_size, 2048)
        self.assertIn("bytes left out]", self.reports()[0].body)

    def test_timeout_is_how_long_a_slow_reader_may_take(self) -> None:
        # With this clock, each reading is ten seconds later than the one before.
        program = """
import itertools, time
time.monotonic = itertools.count(0, 10).__next__
r, w = os.pipe()
if not os.fork():
    os.close(w)
    with open('crash.log', 'wb') as log:
        for data in iter(lambda: os.read(r, 4096), b''): log.write(data)
    os._exit(0)
crashenv.set_crash_output(w, timeout=1e6)
raise ValueError('x' * 300000)
"""
        self.check_reports_once(program)

    def test_timeout_of_zero_waits_for_nobody(self) -> None:
        # The first one would wait for ever.
        program = """
r, w = os.pipe()
crashenv.set_crash_output(w, timeout=1e9)
crashenv.set_crash_output(w, timeout=0)
os.set_blocking(w, False)
try:
    while True: os.write(w, b'x' * 4096)
except BlockingIOError: pass
os.set_blocking(w, True)
1/0
"""
        self.run_program(program)

    def test_signal(self) -> None:
        signal = "import signal; os.kill(os.getpid(), signal.SIGUSR2); print('alive')"
        self.assertEqual(self.output_of(self.setting("signal='USR2'") + signal), ["alive"])
        self.assertIn("most recent call first", (self.folder / "crash.log").read_text())

    def test_signal_of_the_call_before_is_given_back(self) -> None:
        program = (
            self.setting("signal='USR2'")
            + LOG
            + ("import signal\nos.kill(os.getpid(), signal.SIGUSR2)\nprint('alive')")
        )
        self.run_program(program)
        self.assertEqual((self.folder / "crash.log").read_bytes(), b"")


@unittest.skipUnless(SUBINTERPRETERS, "needs _testcapi.run_in_subinterp")
class SubInterpreter(ApiTest):
    RUN = "import _testcapi; _testcapi.run_in_subinterp(%r)\n"

    def run_in_both(self, program: str, after: str) -> bytes:
        """Run ``program`` in a sub-interpreter, and ``after`` in the main one; return stderr."""
        enable = "import faulthandler; faulthandler.enable()\n"
        source = enable + self.RUN % (WITHOUT + program) + after
        without = run(source, cwd=self.folder, env=self.environment())
        source = enable + self.RUN % (WITH + program) + after
        result = run(source, cwd=self.folder, env=self.environment())
        self.assertEqual(result.ending(), without.ending(), str(result))
        return result.stderr

    def test_crash_of_its_thread_is_reported(self) -> None:
        self.run_in_both(LOG + THREAD, "")
        self.assertEqual([r.kind for r in self.reports()], ["thread"])

    def test_call_leaves_the_dumps_of_the_process_alone(self) -> None:
        stderr = self.run_in_both(LOG, "import os; os.abort()")
        self.assertIn(b"most recent call first", stderr)
        self.assertEqual((self.folder / "crash.log").read_bytes(), b"")


class BesidePydebug(ApiTest):
    def test_environment_does_not_change(self) -> None:
        program = (
            "before = dict(os.environ)\n"
            + LOG
            + (
                "print(dict(os.environ) == before)\ncrashenv.set_crash_output(None)\n"
                "print(dict(os.environ) == before)"
            )
        )
        self.assertEqual(self.output_of(program), ["True"] * 2)
        self.assertEqual(self.output_of(program, PYDEBUG="x=1,crashfile=other"), ["True"] * 2)

    def with_pydebug(self, program: str) -> None:
        env = self.environment(PYDEBUG="crashfile=first,crashthreads=ignore")
        without = run(WITHOUT + program, cwd=self.folder)
        result = run(WITH + program, cwd=self.folder, env=env)
        self.assertEqual(result.ending(), without.ending(), str(result))

    def test_call_replaces_the_output_and_its_settings(self) -> None:
        self.with_pydebug(LOG + THREAD + "1/0")
        self.assertEqual(self.reports("first"), [])
        self.assertEqual([r.kind for r in self.reports()], ["thread", "exception"])

    def test_call_replaces_the_output_for_dumps(self) -> None:
        self.with_pydebug(LOG + "os.abort()")
        self.assertEqual((self.folder / "first").read_bytes(), b"")
        self.assertIn("most recent call first", (self.folder / "crash.log").read_text())

    def test_none_turns_it_off(self) -> None:
        self.with_pydebug("crashenv.set_crash_output(None); 1/0")
        self.assertEqual(self.reports("first"), [])

    def test_import_alone_changes_nothing(self) -> None:
        self.with_pydebug("1/0")
        self.assertEqual(len(self.reports("first")), 1)


if __name__ == "__main__":
    unittest.main()
