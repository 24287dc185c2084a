"""Tests on Windows, run there by ``tests/test_windows.py``."""

from __future__ import annotations

import _winapi
import json
import msvcrt
import os
import shutil
import subprocess
import sys
import time
import unittest
from typing import Any

from driver import (
    ACCESS_VIOLATION,
    DEADLINE,
    FOLDER,
    PACKAGES,
    CrashPipe,
    WindowsTest,
    environment,
    run,
    split,
    wait_until,
)

NULL = "import faulthandler; faulthandler._read_null()"
HANDLED = """
import ctypes
try:
    ctypes.string_at(0)
except OSError:
    print("handled")
"""
WORKER = """
import multiprocessing
def fail(): raise ValueError("worker")
if __name__ == "__main__":
    worker = multiprocessing.Process(target=fail)
    worker.start()
    worker.join()
    print(worker.exitcode)
"""


def copy(source: str, target: str) -> None:
    """Copy a folder: Wine has no CopyFile2(), which shutil.copytree() uses."""
    os.makedirs(target)
    for entry in os.scandir(source):
        if entry.is_dir():
            copy(entry.path, os.path.join(target, entry.name))
        elif entry.name.endswith(".py"):
            shutil.copyfile(entry.path, os.path.join(target, entry.name))


class Exceptions(WindowsTest):
    def test_main_thread(self) -> None:
        result = self.check("raise ValueError('b\\u00f6se \\u20ac')", "exception")
        self.assertIn("ValueError: b\u00f6se \u20ac\n", result.bodies[0])

    def test_script_module_directory_and_standard_input(self) -> None:
        path = self.write("program.py", "1/0")
        self.write("__main__.py", "1/0")
        self.check([path], "exception")
        self.check(["-m", "program"], "exception", cwd=self.folder)
        self.check([self.folder], "exception")
        self.check(["-"], "exception", input=b"1/0\n")

    def test_first_import_and_syntax(self) -> None:
        self.check("import nothing_here", "exception")
        self.check([self.write("program.py", "def f(:\n")], "exception")

    def test_threads(self) -> None:
        source = "import threading; t = threading.Thread(target=lambda: 1/0); t.start(); t.join()"
        self.check(source, "thread")
        self.check(source, settings="crashthreads=ignore")
        result = self.run_file(source + "; print('on')", "crashthreads=fatal")
        self.assertEqual((result.status, result.stdout), (1, ""), str(result))

    def test_raw_thread(self) -> None:
        source = """
        import _thread
        lock = _thread.allocate_lock()
        lock.acquire()
        def fail():
            lock.release()
            1/0
        _thread.start_new_thread(fail, ())
        lock.acquire()
        while _thread._count(): pass
        """
        result = self.run_file(source)
        self.assertEqual(result.kinds, ["thread"], str(result))

    def test_replaced_hook(self) -> None:
        self.check("import sys; sys.excepthook = lambda *a: print('mine'); 1/0", "exception")

    def test_replaced_functions(self) -> None:
        self.check("import os, time; os.write = os.fstat = time.sleep = None; 1/0", "exception")

    def test_standard_error_that_is_gone(self) -> None:
        self.check("import sys; sys.stderr = None; 1/0", "exception")
        self.check("import os; os.close(2); 1/0", "exception")

    def test_spawned_worker(self) -> None:
        result = self.check([self.write("program.py", WORKER)], "process")
        self.assertEqual(result.stdout, "1\r\n")

    def test_pool_hands_exceptions_to_the_program(self) -> None:
        self.check_silent(
            [
                self.write(
                    "program.py",
                    """
                    import multiprocessing
                    def fail(x): raise ValueError("worker")
                    if __name__ == "__main__":
                        with multiprocessing.Pool(1) as pool:
                            try: pool.map(fail, [1])
                            except ValueError: print("caught")
                    """,
                )
            ]
        )

    def test_no_crashes(self) -> None:
        for source in (
            "print('ok')",
            "import sys; sys.exit(3)",
            "raise KeyboardInterrupt",
            "import atexit; atexit.register(lambda: 1/0)",
            "class A:\n def __del__(self): 1/0\nA()",
            "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        ):
            with self.subTest(source):
                self.check_silent(source)


class Native(WindowsTest):
    def test_exception(self) -> None:
        self.check_dump(NULL, ACCESS_VIOLATION, "Windows fatal exception: access violation\n")

    def test_signals_of_the_c_runtime(self) -> None:
        # raise(SIGSEGV) returns if faulthandler is on, which expects the fault to repeat.
        told = {"SIGABRT": "Aborted", "SIGILL": "Illegal instruction"}
        for name, said in told.items():
            with self.subTest(name):
                source = "import signal; signal.raise_signal(signal.%s)" % name
                self.check_dump(source, 3, "Fatal Python error: %s\n" % said)

    def test_worker(self) -> None:
        path = self.write("program.py", WORKER.replace('raise ValueError("worker")', NULL))
        result = self.check([path])
        self.assertEqual(result.stdout, "%d\r\n" % ACCESS_VIOLATION)
        self.assertIn("access violation", result.dump)

    def test_what_the_program_asked_for_comes_first(self) -> None:
        result = self.run_handle("import faulthandler; faulthandler.enable(); " + NULL)
        self.assertIn("access violation", result.stderr)
        self.assertEqual(result.crash, b"")

    def test_handled_exceptions_are_dumped_too(self) -> None:
        """This is faulthandler's own behaviour; only a monitor can correct it."""
        result = self.check(HANDLED)
        self.assertEqual((result.status, result.stdout), (0, "handled\r\n"))
        self.assertIn("access violation", result.dump)

    def test_break(self) -> None:
        source = """
        import ctypes, threading
        send = ctypes.WinDLL("kernelbase").CtrlRoutine  # what a console calls
        thread = threading.Thread(target=send, args=(ctypes.c_void_p(1),))
        thread.start()
        thread.join()
        print("on")
        """
        result = self.run_handle(source, "crashsignal=BREAK")
        self.assertEqual((result.status, result.stdout), (0, "on\r\n"), str(result))
        self.assertEqual(result.dump.count("most recent call first"), 2, result.dump)


class Identity(WindowsTest):
    FAIL = "import subprocess, sys; subprocess.run([sys.executable, '-c', '1/0']%s)"

    def test_who_has_no_handle_is_silent(self) -> None:
        self.assertEqual(self.run_handle(self.FAIL % "").crash, b"")
        source = self.FAIL % ", close_fds=False"
        self.assertEqual(self.run_handle(source).kinds, ["exception"])

    def test_handle_that_was_not_passed(self) -> None:
        result = self.run_handle("1/0", is_passed=False)
        self.assertEqual(result.crash, b"")
        self.assertIn("crashenv: PYDEBUG: crashhandle=", result.stderr)
        result = self.run_handle("1/0", item="crashhandle=%d:1:2:3", is_passed=False)
        self.assertEqual((result.crash, result.stderr.count("crashenv")), (b"", 0))

    def test_another_pipe_at_that_handle(self) -> None:
        result = self.run_handle("1/0", item="crashhandle=%d:1:2:3")
        self.assertEqual((result.crash, result.stderr.count("crashenv")), (b"", 0), str(result))

    def test_variable_is_rewritten(self) -> None:
        result = self.run_handle("import os; print(os.environ['PYDEBUG'], os.getpid())")
        item, pid = result.stdout.split()
        self.assertRegex(item, r"^crashhandle=\d+:1:\d{5,}:%s$" % pid)

    def test_two_pipes_differ(self) -> None:
        found = set()
        for _ in range(3):
            result = self.run_handle("import os; print(os.environ['PYDEBUG'])")
            found.add(result.stdout.split(":")[2])
        self.assertEqual(len(found), 3, found)

    def test_reading_end(self) -> None:
        pipe = CrashPipe()
        os.set_handle_inheritable(pipe.reader, True)
        startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [pipe.reader]})
        variables = environment(PYDEBUG="crashhandle=%d" % pipe.reader)
        result = run("print('ok')", env=variables, startupinfo=startup)
        self.assertIn("is not open for writing; crash output is off", result.stderr)
        self.assertEqual(pipe.finish(), b"")

    def test_copy_that_the_program_closed(self) -> None:
        source = "import os; os.closerange(3, 5000); 1/0"
        self.assertEqual(self.run_handle(source).kinds, ["exception"])

    def test_descriptor(self) -> None:
        """The C runtime passes descriptors by ``spawnv``, but not by subprocess."""
        for kind in ("pipe", "file", "text file"):
            with self.subTest(kind):
                crash = self._crash_of_descriptor(kind, "crashfd=40", "1/0")
                self.assertEqual([kind for kind, _ in split(crash)[0]], ["exception"], crash)

    def _crash_of_descriptor(self, kind: str, item: str, source: str) -> bytes:
        reader = -1
        if kind == "pipe":
            reader, writer = os.pipe()
        else:
            mode = os.O_TEXT if kind == "text file" else os.O_BINARY
            writer = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | mode)
        os.dup2(writer, 40)
        os.close(writer)
        errors = os.open(os.devnull, os.O_WRONLY)
        before = os.dup(2)
        os.dup2(errors, 2)
        os.environ.update(PYDEBUG=item, PYTHONPATH=FOLDER)
        try:
            os.spawnv(os.P_WAIT, sys.executable, ["python", "-c", '"%s"' % source])
        finally:
            del os.environ["PYDEBUG"], os.environ["PYTHONPATH"]
            os.dup2(before, 2)
            for fd in (40, errors, before):
                os.close(fd)
        if reader < 0:
            return self.read(self.log)
        data = os.read(reader, 1 << 16)
        os.close(reader)
        return data


class Readers(WindowsTest):
    def test_nobody_reads(self) -> None:
        begin = time.monotonic()
        pipe = CrashPipe(4096, is_read=False)
        result = self.run_handle("raise ValueError('x' * 100000)", "crashtimeout=1", pipe=pipe)
        self.assertEqual(result.status, 1)
        self.assertLess(time.monotonic() - begin, 20)
        self.assertGreater(len(result.crash), 3000)

    def test_nobody_reads_a_dump(self) -> None:
        source = """
        import threading, time, faulthandler
        for _ in range(60): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        faulthandler._read_null()
        """
        result = self.run_handle(source, pipe=CrashPipe(4096, is_read=False))
        self.assertEqual(result.status, ACCESS_VIOLATION)

    def test_reader_that_goes_away(self) -> None:
        pipe = CrashPipe(is_read=False)
        source = "import sys; print('ready', flush=True); sys.stdin.readline(); 1/0"
        program = subprocess.Popen(
            [sys.executable, "-c", source],
            env=environment(PYDEBUG="crashhandle=%d,crashtimeout=60" % pipe.handle),
            startupinfo=pipe.startup(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert program.stdout is not None
        program.stdout.readline()
        _winapi.CloseHandle(pipe.reader)
        begin = time.monotonic()
        _, errors = program.communicate(b"\n", DEADLINE)
        _winapi.CloseHandle(pipe.handle)
        self.assertEqual((program.returncode, errors.count(b"crashenv")), (1, 0), errors)
        self.assertLess(time.monotonic() - begin, 50)

    def test_slow_reader_gets_all(self) -> None:
        result = self.run_handle("raise ValueError('x' * 100000)", pipe=CrashPipe(4096))
        self.assertEqual(len(result.bodies[0]) > 100000, True, result.crash[-100:])

    def test_pipe_that_the_program_prints_to(self) -> None:
        """Its writes must still wait, so the mode of the pipe is not changed."""
        source = "import sys; sys.stderr.write('@' * 300000); sys.stderr.flush(); 1/0"
        variables = environment(PYDEBUG="crashfd=2")
        result = run(source, env=variables)
        self.assertEqual(result.stderr.count("@"), 300000)
        self.assertEqual(result.stderr.count("ZeroDivisionError"), 2)

    def test_processes_do_not_mix(self) -> None:
        source = """
        import threading
        def fail(): raise ValueError("x" * 20000)
        for _ in range(5):
            thread = threading.Thread(target=fail)
            thread.start()
            thread.join()
        """
        pipe = CrashPipe(4096)
        variables = environment(PYDEBUG="crashhandle=%d" % pipe.handle)
        programs = [
            subprocess.Popen(
                [sys.executable, "-c", source.replace("\n        ", "\n")],
                env=variables,
                startupinfo=pipe.startup(),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(3)
        ]
        for program in programs:
            program.wait(DEADLINE)
        reports, outside = split(pipe.finish())
        self.assertEqual((len(reports), outside), (15, b""))


class Files(WindowsTest):
    def test_renamed_while_open(self) -> None:
        self.write("crash.log", "")
        source = "import os; os.rename(%r, %r); 1/0" % (self.log, self.log + ".1")
        result = self.run_file(source)
        self.assertIn("ZeroDivisionError", result.stderr)
        self.assertEqual((result.kinds, self.read(self.log + ".1")), (["exception"], b""))

    def test_removed_while_open(self) -> None:
        result = self.run_file("import os; os.unlink(%r); print('ok')" % self.log)
        self.assertEqual((result.status, result.stdout, result.stderr), (0, "ok\r\n", ""))

    def test_names(self) -> None:
        self.log = self.path("%e.%h.%p.log")
        path = self.write("program.py", "1/0")
        self.run_file([path])
        (name,) = [name for name in os.listdir(self.folder) if name.endswith(".log")]
        script, host, pid, _ = name.rsplit(".", 3)
        self.assertEqual((script, host), ("program.py", os.environ["COMPUTERNAME"]))
        self.assertTrue(pid.isdigit())

    def test_name_of_a_module(self) -> None:
        self.log = self.path("%e.log")
        self.write("program.py", "1/0")
        self.run_file(["-m", "program"], cwd=self.folder)
        self.assertTrue(os.path.exists(self.path("program.log")), os.listdir(self.folder))

    def test_empty_file_of_one_process_is_removed(self) -> None:
        self.log = self.path("%p.log")
        self.run_file("print('ok')")
        self.assertEqual([n for n in os.listdir(self.folder) if n.endswith(".log")], [])

    def test_wrong_settings_cost_a_line(self) -> None:
        for text, told in (
            ("crashfd=9", "crashfd=9: is not open; crash output is off"),
            ("crashhandle=x", "is not H, H:DEV:INO or H:DEV:INO:PID; crash output is off"),
            ("crashfile=%s" % self.path("no\\log"), "crash output is off"),
            ("crashsignal=USR1,crashfile=%s" % self.log, "is not the name of a signal"),
            ("crashhandle=4,crashfile=%s" % self.log, "is overridden by the later crashfile"),
        ):
            with self.subTest(text):
                result = run("print('ok')", env=environment(PYDEBUG=text))
                self.assertEqual((result.status, result.stdout), (0, "ok\r\n"))
                self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
                self.assertTrue(result.stderr.endswith("\r\n"))
                self.assertIn(told, result.stderr)

    def test_installed(self) -> None:
        """The ``.pth`` line, in the user's folder."""
        base = self.path("base")
        version = "Python%d%d" % sys.version_info[:2]
        site = os.path.join(base, version, "site-packages")
        copy(os.path.join(PACKAGES, "crashenv"), os.path.join(site, "crashenv"))
        pth = os.environ["CRASHENV_PTH"]
        shutil.copyfile(pth, os.path.join(site, os.path.basename(pth)))
        variables = environment(PYTHONUSERBASE=base, PYDEBUG="crashfile=" + self.log)
        del variables["PYTHONPATH"]
        result = run("1/0", env=variables)
        result.crash = self.read(self.log)
        self.assertEqual(result.kinds, ["exception"], str(result))
        del variables["PYDEBUG"]
        result = run("import sys; print('crashenv' in sys.modules)", env=variables)
        self.assertEqual((result.stdout, result.stderr), ("False\r\n", ""))


class Api(WindowsTest):
    SET = "import sys; sys.path.insert(0, %r); import crashenv\n" % PACKAGES

    def test_set_crash_output(self) -> None:
        source = self.SET + "file = open(%r, 'a'); crashenv.set_crash_output(file)\n" % self.log
        for more, kinds in (("1/0", ["exception"]), ("crashenv.set_crash_output(None)\n1/0", [])):
            with self.subTest(more):
                self.write("crash.log", "")
                result = run(source + more)
                result.crash = self.read(self.log)
                self.assertEqual(result.kinds, kinds, str(result))

    def test_pipe(self) -> None:
        import crashenv

        with crashenv.Pipe() as pipe:
            startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [pipe.handle]})
            child = subprocess.Popen(
                [sys.executable, "-c", NULL],
                env=pipe.env(environment()),
                startupinfo=startup,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            records = list(pipe)
        self.assertEqual([record["kind"] for record in records], ["dump"])
        self.assertEqual(child.wait(DEADLINE), ACCESS_VIOLATION)

    def test_following_does_not_keep_a_file_from_being_renamed(self) -> None:
        import crashenv

        self.run_file("1/0")
        records = crashenv.read(self.log, follow=True)
        self.assertEqual(next(records)["summary"], "ZeroDivisionError: division by zero")
        os.rename(self.log, self.log + ".1")
        self.run_file("raise KeyError('after')")
        self.assertEqual(next(records)["summary"], "KeyError: 'after'")

    def test_monitor_that_the_program_starts(self) -> None:
        store = self.path("store")
        source = self.SET + "crashenv.start_monitor(store=%r)\n" % store + NULL
        self.assertEqual(run(source).status, ACCESS_VIOLATION)

        def kept() -> Any:
            names = os.listdir(store) if os.path.isdir(store) else []
            return [name for name in names if name.endswith(".json")]

        (name,) = wait_until(kept, "a record")
        record = json.loads(self.read(os.path.join(store, name)))
        self.assertEqual(record["kind"], "death")
        self.assertEqual(record["ending"]["status"], ACCESS_VIOLATION)
        self.assertIn("access violation", record["text"])
        self.assertEqual(record["command"][1], "-c")


class Commands(WindowsTest):
    def test_files(self) -> None:
        self.run_file([self.write("program.py", "1/0")])
        listed = self.crashenv("list", self.log)
        self.assertRegex(listed.stdout, r"program\.py +program\.py:1 in <module> +ZeroDivisionErr")
        shown = self.crashenv("show", self.log)
        self.assertIn("ZeroDivisionError: division by zero\r\n    program.py:1", shown.stdout)
        parsed = run(["-m", "crashenv", "parse", self.log], env=environment(PYTHONPATH=PACKAGES))
        self.assertEqual(json.loads(parsed.stdout)["kind"], "exception")
        page = self.path("page.html")
        told = self.crashenv("html", "-o", page, self.log)
        self.assertEqual((told.status, told.stderr.count("Traceback")), (0, 0), told.stderr)
        self.assertIn(b"ZeroDivisionError", self.read(page))
        for one in (listed, shown, parsed):
            self.assertEqual((one.status, one.stderr), (0, ""), str(one))

    def test_others(self) -> None:
        for arguments, status in (
            (["--help"], 0),
            (["path"], 0),
            (["list"], 1),
            (["show"], 1),
            (["prune", "--before", "1d"], 2),
            (["dump", "1"], 2),
            (["completion", "bash"], 0),
            (["man"], 0),
            (["collect"], 0),
            (["parse"], 0),
            (["run", "--capture-stderr", "--", "x"], 125),
        ):
            with self.subTest(arguments):
                result = self.crashenv(*arguments)
                self.assertEqual(result.status, status, str(result))
                self.assertNotIn("Traceback", result.stdout + result.stderr)
        self.assertIn(self.path("local"), self.crashenv("list").stderr)

    def test_doctor(self) -> None:
        """Crashes of every class, by a handle."""
        result = self.crashenv("doctor", env={"PYTHONPATH": FOLDER + os.pathsep + PACKAGES})
        self.assertEqual((result.status, result.stderr), (0, ""), str(result))
        self.assertGreater(result.stdout.count("\n"), 30)

    def test_reader_that_has_gone(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "crashenv", "man"],
            env=environment(PYTHONPATH=PACKAGES),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=DEADLINE,
        )
        os.close(writer)
        self.assertEqual((done.returncode, done.stderr), (1, b""))


class Monitor(WindowsTest):
    def monitored(self, program: Any, *options: str, **others: Any) -> Any:
        words = [sys.executable, "-c", program] if isinstance(program, str) else program
        return self.crashenv("run", *options, "--", *words, **others)

    def check_record(self, result: Any, kind: str) -> dict[str, Any]:
        records = self.records()
        self.assertEqual([record["kind"] for record in records], [kind], str(result))
        return records[0]

    def test_no_crash(self) -> None:
        result = self.monitored("import sys; print(sys.stdin.read()); sys.exit(-1)", input=b"in")
        self.assertEqual(result.status, 0xFFFFFFFF)
        self.assertEqual((result.stdout, result.stderr, self.records()), ("in\r\n", "", []))

    def test_exception(self) -> None:
        result = self.monitored("1/0")
        record = self.check_record(result, "exception")
        self.assertEqual((result.status, record["ending"]["status"]), (1, 1))
        self.assertIn("crashenv: ZeroDivisionError: division by zero (main thread", result.stderr)

    def test_native(self) -> None:
        result = self.monitored(NULL)
        record = self.check_record(result, "death")
        self.assertEqual(result.status, ACCESS_VIOLATION)
        self.assertEqual(record["summary"], "ended by 0xC0000005 (access violation)")
        self.assertIn("Current thread", record["text"])

    def test_abort(self) -> None:
        record = self.check_record(self.monitored("import os; os.abort()"), "death")
        self.assertIn("Fatal Python error: Aborted", record["text"])

    def test_handled_exception_is_none(self) -> None:
        result = self.monitored(HANDLED)
        self.assertEqual((result.stdout, result.stderr), ("handled\r\n", ""))
        self.assertEqual(self.records(), [])

    def test_descendant(self) -> None:
        """It inherits no handle, and only the job reports its end."""
        source = "import subprocess, sys; subprocess.run([sys.executable, '-c', %r])"
        self.check_record(self.monitored(source % "1/0"), "exception")

    def test_descendants_death(self) -> None:
        source = "import os, subprocess, sys; print(os.getpid()); "
        source += "sys.exit(subprocess.run([sys.executable, '-c', %r]).returncode == 0)" % NULL
        result = self.monitored(source)
        record = self.check_record(result, "death")
        self.assertEqual((result.status, record["ending"]["status"]), (0, ACCESS_VIOLATION))
        self.assertEqual(record["parent"], int(result.stdout))
        self.assertIn("Current thread", record["text"])

    def test_worker(self) -> None:
        self.check_record(self.monitored([sys.executable, self.write("p.py", WORKER)]), "process")

    def test_commands_that_are_none(self) -> None:
        self.assertEqual(self.monitored(["no-such-command"]).status, 127)
        path = self.write("program.txt", "no program")
        self.assertEqual(self.monitored([path]).status, 126)

    def test_on_crash(self) -> None:
        path = self.write(
            "hook.py",
            "import os, sys; print(os.environ['CRASHENV_KIND'], sys.stdin.read(12))",
        )
        hook = '"%s" "%s"' % (sys.executable.replace("\\", "/"), path.replace("\\", "/"))
        result = self.monitored("1/0", "--quiet", "--on-crash", hook)
        self.assertTrue(result.stderr.endswith('exception {"schema":1,\r\n'), result.stderr)

    def test_earlier_crash_output(self) -> None:
        path = FOLDER + os.pathsep + PACKAGES
        self.monitored("1/0", env={"PYTHONPATH": path, "PYDEBUG": "crashfile=" + self.log})
        self.assertEqual([kind for kind, _ in split(self.read(self.log))[0]], ["exception"])
        self.assertEqual(len(self.records()), 1)

    def test_files_about_crashes(self) -> None:
        names = {name: self.path(name) for name in ("junit", "summary", "metrics")}
        options = [word for name, path in names.items() for word in ("--" + name, path)]
        self.monitored("1/0", *options)
        for path in names.values():
            self.assertNotIn(b"\r", self.read(path))
            self.assertGreater(len(self.read(path)), 100, path)


class EventLog(WindowsTest):
    def test_event_is_taken(self) -> None:
        from crashenv import read
        from crashenv._sinks import eventlog

        self.run_file("raise ValueError('x' * 100000)")
        (record,) = read(self.log)
        for text in eventlog.strings(record):
            self.assertLess(len(text), 31_839)
        self.assertEqual(eventlog.send(None, record, ""), 0.0)

    def test_monitor_sends(self) -> None:
        program = [sys.executable, "-c", "1/0"]
        result = self.crashenv("run", "--quiet", "--sink", "eventlog:", "--", *program)
        self.assertNotIn("crashenv", result.stderr)
        folder = os.path.join(self.path("local"), "crashenv")
        marks = []
        for base, _, names in os.walk(folder):
            marks += [os.path.join(base, name) for name in names if not name.endswith(".json")]
        told = b"".join(self.read(path) for path in marks)
        self.assertRegex(told.decode(), r"\.json sent ")
        self.assertNotIn(b"\r", told)


class Service(WindowsTest):
    """A program that the Service Control Manager starts, with no standard streams."""

    SOURCE = """
    import sys
    sys.path.insert(0, {packages!r})
    import crashenv
    crashenv.start_monitor(store={store!r})
    import ctypes, threading
    advapi32 = ctypes.WinDLL("advapi32")
    Main = ctypes.WINFUNCTYPE(None, ctypes.c_uint32, ctypes.POINTER(ctypes.c_wchar_p))
    Handler = ctypes.WINFUNCTYPE(ctypes.c_uint32, *[ctypes.c_uint32] * 2, *[ctypes.c_void_p] * 2)
    advapi32.RegisterServiceCtrlHandlerExW.restype = ctypes.c_void_p
    class Entry(ctypes.Structure):
        _fields_ = [("name", ctypes.c_wchar_p), ("main", Main)]
    handler = Handler(lambda *args: 0)
    def tell(handle, state):
        status = (ctypes.c_uint32 * 7)(0x10, state, 1)
        advapi32.SetServiceStatus(ctypes.c_void_p(handle), status)
    def serve(count, words):
        handle = advapi32.RegisterServiceCtrlHandlerExW({name!r}, handler, None)
        tell(handle, 4)
        thread = threading.Thread(target=lambda: 1/0, name="worker")
        thread.start()
        thread.join()
        tell(handle, 1)
    entries = (Entry * 2)(Entry({name!r}, Main(serve)), Entry(None, Main()))
    advapi32.StartServiceCtrlDispatcherW(entries)
    raise RuntimeError("after the service")
    """

    def test_reports(self) -> None:
        import ctypes

        store = self.path("store")
        name = "crashenv_test_%d_%d" % sys.version_info[:2]
        source = self.SOURCE.format(packages=PACKAGES, store=store, name=name)
        path = self.write("service.py", source)
        advapi32 = ctypes.WinDLL("advapi32", use_last_error=True)
        handle = ctypes.c_void_p
        advapi32.OpenSCManagerW.restype = advapi32.CreateServiceW.restype = handle
        manager = handle(advapi32.OpenSCManagerW(None, None, 0xF003F))
        line = '"%s" "%s"' % (sys.executable, path)
        rights, own_process, demand = 0xF01FF, 0x10, 3
        service = handle(
            advapi32.CreateServiceW(
                manager, name, None, rights, own_process, demand, 1, line, *[None] * 5
            )
        )
        self.assertTrue(service, ctypes.get_last_error())
        try:
            # On a busy machine, the manager may not wait long enough (1053).
            wait_until(lambda: advapi32.StartServiceW(service, 0, None), "the start")

            def kept() -> Any:
                names = sorted(os.listdir(store)) if os.path.isdir(store) else []
                names = [name for name in names if name.endswith(".json")]
                return names if len(names) >= 2 else []

            names = wait_until(kept, "two records")
        finally:
            advapi32.DeleteService(service)
            advapi32.CloseServiceHandle(service)
            advapi32.CloseServiceHandle(manager)
        records = [json.loads(self.read(os.path.join(store, name))) for name in names]
        told = {(record["kind"], record["thread"], record["summary"]) for record in records}
        self.assertIn(("thread", "worker", "ZeroDivisionError: division by zero"), told)
        self.assertIn(("exception", "MainThread", "RuntimeError: after the service"), told)


class Lines(unittest.TextTestResult):
    """Writes each outcome as a line of JSON, which the other side reads."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, False, 0)
        self._file = file

    def _tell(self, test: Any, outcome: str, text: str) -> None:
        self._file.write(json.dumps([str(test.id()), outcome, text]) + "\n")
        self._file.flush()

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self._begun = time.monotonic()

    def addSuccess(self, test: Any) -> None:
        self._tell(test, "ok", "%.1f s" % (time.monotonic() - self._begun))

    def addFailure(self, test: Any, error: Any) -> None:
        self._tell(test, "failed", self._exc_info_to_string(error, test))

    addError = addFailure

    def addSkip(self, test: Any, reason: str) -> None:
        self._tell(test, "skipped", reason)

    def addSubTest(self, test: Any, subtest: Any, error: Any) -> None:
        if error is not None:
            self._tell(subtest, "failed", self._exc_info_to_string(error, test))


def main() -> None:
    """``cases.py RESULTS [NAME...]``"""
    msvcrt.SetErrorMode(0x8003)  # no boxes, in children too
    path, *names = sys.argv[1:]
    loader = unittest.defaultTestLoader
    module = sys.modules["__main__"]
    suite = (
        loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    )
    with open(path, "w", encoding="utf-8") as file:
        suite.run(Lines(file))
        file.write('"end"\n')


if __name__ == "__main__":
    main()
