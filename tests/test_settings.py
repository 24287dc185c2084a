"""The meaning of PYDEBUG; a wrong one prints a line on stderr, and has no other effect."""

from __future__ import annotations

import os
import resource
import signal
import sys
import unittest
from typing import Any

from tests.driver import (
    INSTALLED,
    ROOT,
    CrashOutput,
    Result,
    WatchedTest,
    environment,
    is_root,
    obey_permissions,
    pipe_size,
    run,
    split,
)
from tests.fuzz_settings import Fuzzer, case

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))
from crashenv._seldom.settings import Settings, parse

PROGRAMS = ("print('out')", "print('out'); 1/0")
# execve(2): MAX_ARG_STRLEN is 32 pages, including the name and the terminating NUL.
LONGEST = 32 * 4096 - len("PYDEBUG=") - 1

THREAD = """
import threading
thread = threading.Thread(target=lambda: 1/0)
thread.start()
thread.join()
"""
# A program that prints its PYDEBUG, and that of a Python child.
SHOW = """
import os, subprocess, sys
print(os.environ.get('PYDEBUG'), flush=True)
subprocess.run([sys.executable, '-c', 'import os; print(os.environ.get("PYDEBUG"))'])
"""
# Activates crashenv itself, because .pth and sitecustomize do not under -S, -E or -I.
ACTIVATE = """
import os, sys; sys.path.append(%r)
import crashenv; crashenv._start()
print(os.environ.get('PYDEBUG')); 1/0
""" % str(ROOT / "src")


class ParseTest(unittest.TestCase):
    def good(self, text: str) -> Settings:
        settings, problems = parse(text)
        self.assertEqual(problems, [], text)
        return settings

    def bad(self, *items: str) -> None:
        """Check that each item is one problem, named by its own text, and changes nothing."""
        for item in items:
            settings, problems = parse(item)
            self.assertEqual([text for text, _ in problems], [item])
            self.assertEqual(as_dict(settings), as_dict(Settings()), item)


def as_dict(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in Settings.__slots__}


class Items(ParseTest):
    def test_nothing_set(self) -> None:
        settings = self.good("")
        self.assertFalse(settings.has_output())
        self.assertEqual((settings.threads, settings.traceback), ("report", "single"))
        self.assertEqual((settings.timeout, settings.limit), (5, 1024 * 1024))
        self.assertEqual(settings.signal, 0)

    def test_spaces_and_empty_items(self) -> None:
        settings = self.good(" , crashfd=3 ,,\tcrashthreads = fatal , ")
        self.assertEqual((settings.fd, settings.threads), (3, "fatal"))

    def test_the_last_of_a_repeated_key_counts(self) -> None:
        self.assertEqual(self.good("crashfd=3,crashfd=4").fd, 4)
        self.assertEqual(self.good("crashlimit=nonsense,crashlimit=2K").limit, 2048)

    def test_a_repeated_key_whose_last_value_is_bad(self) -> None:
        settings, problems = parse("crashfd=3,crashfd=x")
        self.assertIsNone(settings.fd)
        self.assertEqual([item for item, _ in problems], ["crashfd=x"])

    def test_keys_of_others(self) -> None:
        settings = self.good("1,x=crashfd=7,gctrace=1,xcrashfd=8,CRASHFD=9,=,==")
        self.assertEqual(as_dict(settings), as_dict(Settings()))

    def test_unknown_keys_of_ours(self) -> None:
        self.bad("crashdf=3", "crash", "crash=", "crash_fd=1", "crashfd2=3", "crashmode")

    def test_key_without_a_value(self) -> None:
        self.bad("crashfd", "crashfile", "crashthreads", "crashlimit", "crashsignal")

    def test_other_settings_hold_beside_a_bad_one(self) -> None:
        settings, problems = parse("crashlimit=0,crashfd=3,crashno=1,crashtraceback=all")
        self.assertEqual((settings.fd, settings.traceback), (3, "all"))
        self.assertEqual([item for item, _ in problems], ["crashlimit=0", "crashno=1"])

    def test_a_megabyte(self) -> None:
        self.assertEqual(self.good("," * (1 << 20) + "crashfd=3").fd, 3)
        self.assertEqual(self.good("x=" + "y" * (1 << 20) + ",crashfd=3").fd, 3)
        self.bad("crashfd=" + "9" * (1 << 20), "crashx=" + "y" * (1 << 20))


class Values(ParseTest):
    def test_crashfd_number(self) -> None:
        for text, number in (("0", 0), ("3", 3), ("03", 3), ("1048575", 1048575)):
            settings = self.good("crashfd=" + text)
            self.assertEqual((settings.fd, settings.identity), (number, None))

    def test_crashfd_with_the_files_identity(self) -> None:
        settings = self.good("crashfd=3:14:18446744073709551615")
        self.assertEqual((settings.fd, settings.identity), (3, (14, 18446744073709551615)))

    def test_handle_is_for_windows(self) -> None:
        for value in ("4", "4:1:2", "4:1:2:3", "4:1:2:3:all"):
            _, problems = parse("crashhandle=" + value)
            text = "is for Windows; use crashfd on this system"
            self.assertEqual(problems, [("crashhandle=" + value, text)])
        for value in ("", "x", "4:1", "4:1:2:3:4", "4:1:2:3:any", "4:all"):
            _, problems = parse("crashhandle=" + value)
            self.assertIn("is not H, H:DEV:INO or H:DEV:INO:PID", problems[0][1])
            self.bad("crashhandle=" + value)
        settings, _ = parse("crashhandle=4,crashfd=3:1:2")
        self.assertEqual((settings.fd, settings.identity), (3, (1, 2)))

    def test_crashfd_by_name(self) -> None:
        settings = self.good("crashfd=@crash log")
        self.assertEqual((settings.fd, settings.listen_name), (None, "crash log"))

    def test_bad_crashfd(self) -> None:
        for value in ("", "abc", "-1", "+3", "1e3", "3.0", "0x3", "3 4", "1_0", "\u0663"):
            self.bad("crashfd=" + value)
        for value in (
            "99999999999",
            "@",
            "3:",
            "3:1",
            "3:1:",
            "3:1:2:3",
            "3:-1:2",
            ":1:2",
            "3:x:y",
        ):
            self.bad("crashfd=" + value)

    def test_crashfile(self) -> None:
        for path in ("/a/b", "a b", "/%p-%t-%e-%h%%", "%%x", "a=b", "\udcff"):
            settings = self.good("crashfile=" + path)
            self.assertEqual((settings.path, settings.fd), (path, None))

    def test_bad_crashfile(self) -> None:
        self.bad("crashfile=", "crashfile=%x", "crashfile=a%", "crashfile=%%%", "crashfile=%P")

    def test_the_later_of_crashfd_and_crashfile_wins(self) -> None:
        settings, problems = parse("crashfd=3,crashfile=f")
        self.assertEqual((settings.fd, settings.path, len(problems)), (None, "f", 1))
        settings, problems = parse("crashfile=f,crashfd=@n")
        self.assertEqual((settings.listen_name, settings.path, len(problems)), ("n", None, 1))
        settings, problems = parse("crashfd=3,crashfile=f,crashfd=4")
        self.assertEqual((settings.fd, settings.path, len(problems)), (4, None, 1))

    def test_crashthreads(self) -> None:
        for value in ("report", "fatal", "ignore"):
            self.assertEqual(self.good("crashthreads=" + value).threads, value)
        self.bad("crashthreads=", "crashthreads=Fatal", "crashthreads=1")

    def test_crashtraceback(self) -> None:
        for value in ("single", "all"):
            self.assertEqual(self.good("crashtraceback=" + value).traceback, value)
        self.bad("crashtraceback=", "crashtraceback=none")

    def test_crashtimeout(self) -> None:
        for text, seconds in (("0", 0), ("2", 2), ("0.25", 0.25), (".5", 0.5), ("10.", 10)):
            self.assertEqual(self.good("crashtimeout=" + text).timeout, seconds)
        self.bad("crashtimeout=", "crashtimeout=-1", "crashtimeout=nan", "crashtimeout=inf")
        self.bad("crashtimeout=1e3", "crashtimeout=.", "crashtimeout=5s", "crashtimeout=1.2.3")

    def test_crashlimit(self) -> None:
        for text, limit in (("1024", 1024), ("1K", 1024), ("64k", 65536), ("2M", 2 << 20)):
            self.assertEqual(self.good("crashlimit=" + text).limit, limit)
        self.bad("crashlimit=0", "crashlimit=1023", "crashlimit=", "crashlimit=K", "crashlimit=-1K")
        self.bad("crashlimit=1G", "crashlimit=1.5M", "crashlimit=1KK", "crashlimit=1 K")

    def test_crashsignal(self) -> None:
        for name in ("USR2", "SIGUSR2", "usr2", "sigusr2"):
            self.assertEqual(self.good("crashsignal=" + name).signal, signal.SIGUSR2)
        self.bad("crashsignal=", "crashsignal=SIG", "crashsignal=12", "crashsignal=NOPE")
        self.bad("crashsignal=_DFL", "crashsignal=SIGSIGUSR2")

    def test_crashsignal_that_cannot_be_used(self) -> None:
        # faulthandler.register() refuses the first five, and the kernel the last two.
        self.bad(*("crashsignal=" + name for name in ("SEGV", "BUS", "FPE", "ILL", "SIGABRT")))
        self.bad("crashsignal=KILL", "crashsignal=STOP")
        self.bad("crashsignal=IOT")  # signal(7): a synonym for SIGABRT


class EndToEnd(WatchedTest):
    def run_bad(self, program: str, pydebug: str, **options: Any) -> tuple[str, Result]:
        """Check for the same ending, after one line of warning; return that and the result."""
        without = run(program)
        result = self.run_with(program, pydebug=pydebug, **options)
        line, _, rest = result.stderr.partition(b"\n")
        self.assertRegex(line, b"^crashenv: PYDEBUG: [ -~]+$", str(result))
        result.stderr = rest
        self.assertEqual(result.ending(), without.ending(), str(result))
        return line.decode(), result

    def check_off(self, pydebug: str, **options: Any) -> str:
        """Check for a line, and nothing on the descriptor; return the line."""
        for program in PROGRAMS:
            warning, result = self.run_bad(program, pydebug, **options)
            self.assertEqual(result.crash, b"", str(result))
            self.assertTrue(warning.endswith("; crash output is off"), warning)
        return warning

    def check_ignored(self, setting: str) -> None:
        """Check for a line; the report is written anyway."""
        for program, reports in zip(PROGRAMS, (0, 1)):
            warning, result = self.run_bad(program, "crashfd={fd}," + setting)
            self.assertIn(setting + ": ", warning)
            self.assertEqual(len(result.reports), reports, str(result))

    def path(self, name: str) -> str:
        return str(self.folder / name)


class Fuzzed(WatchedTest):
    """A few of the cases of tests/fuzz_settings.py."""

    CASES = 150

    def test_nobody_notices(self) -> None:
        with Fuzzer() as fuzzer:
            for seed in range(self.CASES):
                with self.subTest(seed, pydebug=case(seed)[:500]):
                    self.assertIsNone(fuzzer.check(case(seed)))


class BadDescriptor(EndToEnd):
    def test_not_a_number(self) -> None:
        for value in ("", "abc", "-1", "1e3", "99999999999"):
            with self.subTest(value):
                self.assertIn("crashfd=%s: " % value, self.check_off("crashfd=" + value))

    def test_closed_number(self) -> None:
        self.assertIn("crashfd=99: ", self.check_off("crashfd=99"))
        self.assertIn("crashfd=1000: ", self.check_off("crashfd=1000"))

    def test_folder(self) -> None:
        fd = os.open(self.folder, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        self.assertIn("directory", self.check_off("crashfd=%d" % fd, pass_fds=[fd]))

    def test_read_only_file(self) -> None:
        fd = os.open(self.write("read_me", "as it was"), os.O_RDONLY)
        self.addCleanup(os.close, fd)
        self.assertIn("writing", self.check_off("crashfd=%d" % fd, pass_fds=[fd]))
        self.assertEqual((self.folder / "read_me").read_text(), "as it was")

    def test_reading_end_of_a_pipe(self) -> None:
        fds = os.pipe()
        for fd in fds:
            self.addCleanup(os.close, fd)
        self.assertIn("writing", self.check_off("crashfd=%d" % fds[0], pass_fds=[fds[0]]))

    def test_nothing_passed_on_3(self) -> None:
        # Up to 3.12, descriptor 3 is then the .pth file that site is reading.
        for program in PROGRAMS:
            result = run(program, env=environment(PYDEBUG="crashfd=3"))
            line, _, result.stderr = result.stderr.partition(b"\n")
            self.assertRegex(line, b"^crashenv: PYDEBUG: crashfd=3: .+; crash output is off$")
            self.assertEqual(result.ending(), run(program).ending())

    def test_file_that_the_interpreter_opened_itself(self) -> None:
        # By another package's .pth line, for example.
        source = "import os; f = open('own', 'w'); os.dup2(f.fileno(), 50, inheritable=False)\n"
        program = ["-S", "-c", source + ACTIVATE]
        result = run(program, env=environment(PYDEBUG="crashfd=50"), cwd=self.folder)
        self.assertIn(b"crashenv: PYDEBUG: crashfd=50: ", result.stderr)
        self.assertEqual((self.folder / "own").read_bytes(), b"")

    def test_name_that_was_not_passed(self) -> None:
        self.assertIn("crashfd=@nosuchname: ", self.check_off("crashfd=@nosuchname"))

    def test_identity_of_no_file_is_silent(self) -> None:
        self.check_silent("1/0", pydebug="crashfd={fd}:0:0", is_on=False)
        self.check_silent("1/0", pydebug="crashfd=3:0:0", is_on=False)
        self.check_silent("1/0", pydebug="crashfd={fd}:99999999999999999999:1", is_on=False)


class BadFile(EndToEnd):
    def check_path(self, path: str, reason: str = "", **options: Any) -> None:
        warning = self.check_off("crashfile=" + path, **options)
        self.assertTrue(warning.startswith("crashenv: PYDEBUG: crashfile="), warning)
        self.assertIn(reason, warning)

    def test_no_path(self) -> None:
        self.check_path("")

    def test_folder(self) -> None:
        self.check_path(str(self.folder), "directory")

    def test_no_such_folder(self) -> None:
        self.check_path(self.path("missing/crash.log"), "No such file")

    def test_no_permission(self) -> None:
        folder = self.folder / "locked"
        folder.mkdir(mode=0o500)
        self.check_path(str(folder / "crash.log"), "Permission", preexec_fn=obey_permissions())
        self.assertEqual(list(folder.iterdir()), [])

    def test_unknown_percent_letter(self) -> None:
        self.check_path(self.path("crash-%x.log"), "%x is not")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_dangling_symbolic_link(self) -> None:
        os.symlink(self.path("target"), self.path("link"))
        self.check_path(self.path("link"), "symbolic link")
        self.assertFalse(os.path.exists(self.path("target")))

    def test_symbolic_link_to_somebody_elses_file(self) -> None:
        target = self.write("target", "as it was")
        os.symlink(target, self.path("link"))
        self.check_path(self.path("link"), "symbolic link")
        self.assertEqual((self.folder / "target").read_text(), "as it was")

    def test_file_with_another_hard_link(self) -> None:
        os.link(self.write("target", "as it was"), self.path("other"))
        self.check_path(self.path("other"), "hard link")
        self.assertEqual((self.folder / "target").read_text(), "as it was")

    @unittest.skipUnless(is_root(), "needs root, to give a file away")
    def test_file_that_another_user_may_have_planted(self) -> None:
        os.chmod(self.folder, 0o777)
        path = self.write("crash.log", "as it was")
        os.chown(path, 65534, 65534)
        self.check_path(path, "belongs to another user")
        self.assertEqual((self.folder / "crash.log").read_text(), "as it was")
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        os.chown(fifo, 65534, 65534)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.check_path(fifo, "belongs to another user")
        self.assertEqual(os.read(reader, 1), b"")

    def test_name_too_long(self) -> None:
        self.check_path(self.path("x" * 256), "too long")

    def test_full_disk(self) -> None:
        # It is open for writing, so the setting is valid; each write fails with ENOSPC.
        for program in PROGRAMS:
            self.run_both(program, pydebug="crashfile=/dev/full")

    def test_descriptor_of_a_full_disk(self) -> None:
        fd = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, fd)
        for program in PROGRAMS:
            self.run_both(program, pydebug="crashfd=%d" % fd, pass_fds=[fd])


class BadValue(EndToEnd):
    def test_the_report_is_written_all_the_same(self) -> None:
        for setting in (
            "crashlimit=0",
            "crashtimeout=-1",
            "crashtimeout=nan",
            "crashthreads=2",
            "crashtraceback=",
            "crashsignal=KILL",
            "crashdf=3",
        ):
            with self.subTest(setting):
                self.check_ignored(setting)

    def test_no_crash_output_named(self) -> None:
        self.assertIn("crashdf=3: ", self.check_off("crashdf=3"))
        self.assertIn("crash: ", self.check_off("crash"))

    def test_keys_of_others(self) -> None:
        for pydebug in ("1", "x=1", "gctrace=1,crAshfd=3", "x=crashfd=3", ",", ""):
            self.check_silent("1/0", pydebug=pydebug, is_on=False)

    def test_longest_that_a_process_can_be_given(self) -> None:
        for text in ("crashfd=" + "9" * LONGEST, "crash" * LONGEST, "crashfile=/" + "x/" * LONGEST):
            self.check_off(text[:LONGEST])
        text = ("crashfd={fd},x=" + "y" * LONGEST)[:LONGEST]
        self.assertEqual(len(self.run_both("1/0", pydebug=text).reports), 1)

    def test_thousands_of_unknown_keys(self) -> None:
        keys = ",".join("crash%d" % n for n in range(LONGEST // 11))
        warning = self.check_off(keys, preexec_fn=at_most_three_seconds_of_work)
        self.assertLess(len(warning), 400)

    def test_not_utf_8(self) -> None:
        self.check_off("crashfd=\udcff\udc80")
        self.check_off("crash\udcff")
        self.run_with("1/0", pydebug="crashfile=" + self.path("\udcff"))
        self.assertIn("ZeroDivisionError", (self.folder / "\udcff").read_text())

    def test_control_characters_do_not_reach_the_terminal(self) -> None:
        self.check_off("crashfd=\x1b[31m\n\r\x07")

    def test_repeated_key_warns_of_the_last_only(self) -> None:
        warning = self.check_off("crashfd=first,crashfd=last")
        self.assertNotIn("first", warning)

    def test_several_problems_on_one_line(self) -> None:
        warning = self.check_off("crashno=1,crashlimit=0,crashfd=99")
        for item in ("crashno=1: ", "crashlimit=0: ", "crashfd=99: "):
            self.assertIn(item, warning)

    def test_stderr_that_is_closed(self) -> None:
        # The first file that the program opens is then descriptor 2.
        self.run_with(
            "file = open('file', 'w'); 1/0",
            pydebug="crashfd=99",
            cwd=self.folder,
            preexec_fn=lambda: os.close(2),
        )
        self.assertEqual((self.folder / "file").read_text(), "")

    def test_stderr_that_nobody_reads(self) -> None:
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, read_end)
        self.addCleanup(os.close, write_end)
        os.write(write_end, b"x" * pipe_size(write_end))
        result = self.run_with(
            "print('out')", pydebug="crashfd=99", preexec_fn=lambda: os.dup2(write_end, 2)
        )
        self.assertEqual((result.status, result.stdout), (0, b"out\n"))
        self.assertTrue(os.get_blocking(write_end))


def at_most_three_seconds_of_work() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (3, 3))


class Tags(EndToEnd):
    def tags(self, setting: str) -> dict[str, str]:
        report = self.check_exception(PROGRAMS[1], setting)
        return {key[4:]: value for key, value in report.fields.items() if key.startswith("tag.")}

    def test_stand_in_the_header(self) -> None:
        self.assertEqual(self.tags("crashtags=release:1.2"), {"release": "1.2"})
        self.assertEqual(
            self.tags("crashtags=a:1,b:2,crashtags=c.d:3"), {"a": "1", "b": "2", "c.d": "3"}
        )
        self.assertEqual(self.tags("crashtags=a:1,crashtags=a:2"), {"a": "2"})
        self.assertEqual(self.tags("crashtags=a:"), {"a": ""})

    def test_values_are_quoted(self) -> None:
        for value in ("x y", "100%", "größe", "http://host:1/", "\x1b[31m"):
            with self.subTest(value):
                self.assertEqual(self.tags("crashtags=a:" + value), {"a": value})

    def test_name_cannot_forge_a_field(self) -> None:
        for item in (
            "crashtags=a b:1",
            "crashtags=",
            "crashtags=a",
            "crashtags=:1",
        ):
            with self.subTest(item):
                self.check_ignored(item)

    def test_of_threads_and_after_an_exec(self) -> None:
        program = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', %r])"
        thread = "import threading; t = threading.Thread(target=lambda: 1/0); t.start(); t.join()"
        (report,) = self.check_reports(program % thread, "thread", settings="crashtags=a:1,b:2")
        self.assertEqual((report.fields["tag.a"], report.fields["tag.b"]), ("1", "2"))


class TwoOutputs(EndToEnd):
    def test_later_file_wins_over_the_descriptor(self) -> None:
        warning, result = self.run_bad("1/0", "crashfd={fd},crashfile=" + self.path("log"))
        self.assertTrue(warning.startswith("crashenv: PYDEBUG: crashfd"), warning)
        self.assertEqual(result.crash, b"")
        self.assertIn("ZeroDivisionError", (self.folder / "log").read_text())

    def test_later_descriptor_wins_over_the_file(self) -> None:
        warning, result = self.run_bad("1/0", "crashfile=%s,crashfd={fd}" % self.path("log"))
        self.assertTrue(warning.startswith("crashenv: PYDEBUG: crashfile"), warning)
        self.assertEqual(len(result.reports), 1)
        self.assertFalse((self.folder / "log").exists())


class Rewritten(EndToEnd):
    """PYDEBUG in the program's environment, and so in its children's."""

    def shown(self, pydebug: str, **options: Any) -> list[str]:
        """Return PYDEBUG in the program and in its child; only the program warns, once."""
        result = self.run_with(SHOW, pydebug=pydebug, **options)
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual(result.stderr.count(b"\n"), 1, str(result))
        return result.stdout.decode().splitlines()

    def test_children_do_not_repeat_the_warning(self) -> None:
        for pydebug in ("crashfd=99", "crashfile=/", "crashdf=3", "crashlimit=0", "crashfd=@no"):
            with self.subTest(pydebug):
                self.assertEqual(self.shown(pydebug), ["None", "None"])

    def test_loser_of_two_outputs_is_taken_out(self) -> None:
        log = self.path("log")
        shown = self.shown("crashfd={fd},crashfile=" + log)
        self.assertEqual(shown, ["crashfile=" + log] * 2)

    def test_only_the_bad_items_are_taken_out(self) -> None:
        (program, child) = self.shown("crashtimeout=2,crashfd={fd},crashlimit=0,crashno")
        self.assertRegex(program, r"^crashtimeout=2,crashfd=\d+:\d+:\d+$")
        self.assertEqual(child, program)

    def test_items_of_others_survive_verbatim(self) -> None:
        others = [" a=1 ", "b ", "c=%x=crashfd", "crAsh"]
        pydebug = "%s,,%s, crashfd = {fd} ,%s,crashno,%s" % tuple(others)
        program, child = self.shown(pydebug)
        kept = [i for i in program.split(",") if i and not i.startswith("crashfd=")]
        self.assertEqual(kept, others)
        self.assertEqual(child, program)

    def test_only_others_left(self) -> None:
        self.assertEqual(self.shown("a=1,crashfd=99,b"), ["a=1,b"] * 2)

    def test_threads_are_fatal_without_an_output(self) -> None:
        result = self.run_with(THREAD, pydebug="crashfd=99,crashthreads=fatal")
        self.assertEqual(result.status, 1, str(result))

    def test_threads_are_ignored_beside_a_bad_limit(self) -> None:
        result = self.run_with(THREAD, "crashlimit=0,crashthreads=ignore")
        self.assertEqual(result.crash, b"", str(result))


class SecondName(EndToEnd):
    """CRASHENV, for programs that read PYDEBUG as a number."""

    PROGRAM = "import os; print(os.environ.get('PYDEBUG')); 1/0"

    def setUp(self) -> None:
        super().setUp()
        self.log = self.folder / "crash.log"
        self.crashenv = {"CRASHENV": "crashfile=%s" % self.log}

    def test_alone(self) -> None:
        for pydebug in ("", "1"):
            result = self.run_with(self.PROGRAM, pydebug=pydebug, env=self.crashenv)
            self.assertEqual(result.stdout.decode(), pydebug + "\n")
            self.assertEqual([r.kind for r in split(self.log.read_bytes())[0]], ["exception"])
            self.log.unlink()

    def test_wins_where_both_are_set(self) -> None:
        result = self.run_with(self.PROGRAM, env=self.crashenv)
        self.assertEqual(result.crash, b"", str(result))
        self.assertRegex(result.stdout, rb"\Acrashfd=\d+\n\Z")  # it is not changed
        self.assertEqual([r.kind for r in split(self.log.read_bytes())[0]], ["exception"])

    def test_wins_with_no_output_too(self) -> None:
        for text in ("", "1", "crashlimit=1M"):
            result = self.run_with(self.PROGRAM, env={"CRASHENV": text})
            self.assertEqual(result.crash, b"", str(result))
        self.assertNotEqual(self.run_with(self.PROGRAM).crash, b"")

    def test_warning_names_it(self) -> None:
        result = self.run_with("print('out')", pydebug="1", env={"CRASHENV": "crashfd=99"})
        self.assertIn(b"crashenv: CRASHENV: crashfd=99: ", result.stderr)

    def test_child_gets_it_rewritten(self) -> None:
        program = "import os; print(os.environ['CRASHENV'].count(':'), os.environ['PYDEBUG'])"
        crash_output = CrashOutput("pipe")
        env = environment(CRASHENV="crashfd=%d" % crash_output.passed, PYDEBUG="1")
        result = run(program, env=env, pass_fds=[crash_output.passed])
        self.assertEqual(result.stdout, b"2 1\n", str(result))
        self.assertEqual(crash_output.finish(), b"")


class NotHonoured(EndToEnd):
    def check_not_honoured(self, *flags: str, **options: Any) -> None:
        without = run([*flags, "-c", ACTIVATE])
        result = self.run_with([*flags, "-c", ACTIVATE], **options)
        self.assertEqual(result.crash, b"", str(result))
        self.assertRegex(result.stdout, rb"^crashfd=\d+\n$")
        self.assertEqual((result.status, result.stderr), (without.status, without.stderr))

    def test_the_check_itself(self) -> None:
        with self.assertRaises(AssertionError):
            self.check_not_honoured("-s")

    def test_interpreter_that_ignores_its_environment(self) -> None:
        self.check_not_honoured("-E")
        self.check_not_honoured("-I")

    @unittest.skipUnless(is_root(), "needs root, to run as if set-uid or set-gid")
    def test_set_uid_or_set_gid_program(self) -> None:
        self.check_not_honoured(preexec_fn=lambda: os.setresuid(65534, 0, 0))
        self.check_not_honoured(preexec_fn=lambda: os.setresgid(65534, 0, 0))


if __name__ == "__main__":
    unittest.main()
