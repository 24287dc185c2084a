"""The crash output is a file, not a number: inheriting it, not inheriting it, and losing it."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import unittest
from typing import Any

from tests.driver import OUTPUTS, Result, WatchedTest, run, wait_until

# The number with which the crash output was passed, or stderr's if there is none.
FD = "import os; fd = int(os.environ.get('PYDEBUG', '=2').split('=')[1].split(':')[0])\n"
EXEC = "import os, sys; os.execv(sys.executable, [sys.executable, '-c', %r])"
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', '1/0'])"
CHILD_GIVEN = CHILD.replace("'1/0']", "'1/0'], pass_fds=[%s]")
THREAD = "import threading; t = threading.Thread(target=lambda: 1/0); t.start(); t.join()"
# Moves the passed descriptor to number argv[1], and becomes argv[2:].
MOVED = """
import os, sys
os.dup2(int(os.environ['PYDEBUG'].rpartition('=')[2]), int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""
# Prints the descriptors of the crash output other than the passed one.
COPIES = (
    FD
    + """
import fcntl
ours = os.fstat(fd)
for number in map(int, os.listdir('/proc/self/fd')):
    try:
        found = os.fstat(number)
    except OSError: # what listdir had open
        continue
    if number != fd and (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
        print(number, fcntl.fcntl(number, fcntl.F_GETFD))
"""
)
# One of the program's files, on every free number.
VICTIM = """
import resource
victim = os.open('victim', os.O_RDWR | os.O_CREAT)
for number in range(3, min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0])):
    try:
        os.fstat(number)
    except OSError:
        os.dup2(victim, number)
"""
DAEMON = """
import os
def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.chdir('/')
{close}
null = os.open(os.devnull, os.O_RDWR)
for fd in range(3):
    os.dup2(null, fd)
1/0
"""
needs_proc = unittest.skipUnless(os.path.isdir("/proc/self/fd"), "needs /proc")


class IdentityTest(WatchedTest):
    def run_moved(self, *args: str, to: int = 3, pydebug: str, **options: Any) -> Result:
        """Run ``args`` with the crash output as number ``to``."""
        program = ["-IS", "-c", MOVED, str(to), *args]
        return self.run_with(program, pydebug=pydebug + ",passed={fd}", **options)


class Adoption(IdentityTest):
    def test_variable_names_the_very_file(self) -> None:
        for output in OUTPUTS:
            with self.subTest(output):
                program = FD + (
                    "s = os.fstat(fd); print('crashfd', (fd, s.st_dev, s.st_ino))\n"
                    "key, _, value = os.environ['PYDEBUG'].partition('=')\n"
                    "print(key, tuple(map(int, value.split(':'))))"
                )
                expected, found = self.run_with(program, output=output).stdout.splitlines()
                self.assertEqual(expected, found)

    @needs_proc
    def test_private_copy_is_high_and_close_on_exec(self) -> None:
        for output in OUTPUTS:
            with self.subTest(output):
                result = self.run_with(COPIES, output=output)
                number, flags = map(int, result.stdout.split())
                self.assertGreaterEqual(number, 50)
                self.assertEqual(flags, 1)  # FD_CLOEXEC

    def test_passed_descriptor_stays_as_the_parent_left_it(self) -> None:
        program = FD + (
            "import fcntl\n"
            "print(*(fcntl.fcntl(fd, what) for what in (fcntl.F_GETFD, fcntl.F_GETFL)))"
        )
        for output in OUTPUTS:
            with self.subTest(output):
                without = self.run_with(program, output=output, pydebug="x={fd}")
                result = self.run_with(program, output=output)
                self.assertRegex(result.stdout, rb"^0 \d+\n$")  # open, and not close-on-exec
                self.assertEqual(result.stdout, without.stdout)

    def test_reader_sees_the_end_while_a_child_lives_on(self) -> None:
        program = """
            import subprocess
            null = subprocess.DEVNULL
            print(subprocess.Popen(['sleep', '1000'], stdout=null, stderr=null).pid)
            """
        pid = int(self.run_with(program).stdout)  # this waits for the end of the crash output
        os.kill(pid, signal.SIGKILL)  # fails if it has ended


class Exec(IdentityTest):
    def test_exec_keeps_reporting(self) -> None:
        for output in OUTPUTS:
            with self.subTest(output):
                self.check_reports(EXEC % "1/0", "exception", output=output)

    def test_exec_through_a_shell_keeps_reporting(self) -> None:
        self.check_reports(
            """
            import os, sys
            os.execv('/bin/sh', ['sh', '-c', 'exec "$0" -c 1/0', sys.executable])
            """,
            "exception",
        )

    def test_exec_keeps_the_other_settings(self) -> None:
        self.check_silent(EXEC % THREAD, "crashthreads=ignore")

    @needs_proc
    def test_exec_after_exec_leaves_no_copies_behind(self) -> None:
        result = self.run_with(EXEC % (EXEC % COPIES))
        self.assertEqual(result.stdout.count(b"\n"), 1, str(result))


class Child(IdentityTest):
    def test_child_given_the_descriptor_reports_too(self) -> None:
        program = FD + CHILD_GIVEN % "fd" + "\n1/0"
        first, second = self.check_reports(program, "exception", "exception")
        self.assertNotEqual(first.fields["pid"], second.fields["pid"])

    def test_child_without_the_descriptor_is_silent(self) -> None:
        self.check_silent(CHILD)

    def test_child_without_the_descriptor_has_the_variable_as_it_was(self) -> None:
        # For its own children, which may have inherited the descriptor in another way.
        program = (
            FD
            + """
import subprocess, sys
grandchild = 'import os; print(os.environ["PYDEBUG"])'
child = 'import subprocess, sys; subprocess.run([sys.executable, "-c", sys.argv[1]])'
print(os.environ['PYDEBUG'], flush=True)
subprocess.run([sys.executable, '-c', child, grandchild])
"""
        )
        result = self.run_with(program)
        (setting,) = set(result.stdout.split())
        self.assertRegex(setting, rb"^crashfd=\d+:\d+:\d+$")
        self.assertEqual(result.stderr, b"")

    def test_child_whose_number_is_another_file(self) -> None:
        program = (
            FD
            + """
import subprocess, sys
other = os.open('other', os.O_RDWR | os.O_CREAT)
subprocess.run([sys.executable, '-c', '1/0'], close_fds=False,
               preexec_fn=lambda: os.dup2(other, fd) if fd > 2 else None)
"""
        )
        self.check_silent(program, cwd=self.folder)
        self.assertEqual((self.folder / "other").read_bytes(), b"")

    def test_shell_that_reuses_the_number_for_its_own_file(self) -> None:
        source = """
            import subprocess, sys
            shell = 'exec 3>own; "$0" -c 1/0; "$0" -c "import os; os.abort()"; echo done >&3'
            subprocess.run(['sh', '-c', shell, sys.executable])
            """
        path = self.write("app.py", source)
        without = run([path], cwd=self.folder)
        args = (sys.executable, path)
        result = self.run_moved(*args, pydebug="crashfd=3", cwd=self.folder)
        self.assertEqual((self.folder / "own").read_bytes(), b"done\n")
        self.assertEqual(result.crash, b"")
        self.assertEqual(result.ending(), without.ending())

    def test_shell_that_passes_the_number_on(self) -> None:
        source = """
            import subprocess, sys
            shell = 'exec 4>own; "$0" -c 1/0'
            subprocess.run(['sh', '-c', shell, sys.executable], pass_fds=[3])
            """
        args = (sys.executable, self.write("app.py", source))
        result = self.run_moved(*args, pydebug="crashfd=3", cwd=self.folder)
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))


class Lost(IdentityTest):
    """The program closes descriptors that it does not know."""

    CLOSE = FD + "if fd > 2: os.close(fd)\n"

    def test_program_closes_the_passed_descriptor(self) -> None:
        for output in OUTPUTS:
            with self.subTest(output):
                self.check_reports(self.CLOSE + "1/0", "exception", output=output)

    def test_dump_after_the_passed_descriptor_was_closed(self) -> None:
        self.check_dump(self.CLOSE + "os.abort()", signal.SIGABRT)

    def test_program_opens_300_files(self) -> None:
        program = self.CLOSE + "files = [open(os.devnull) for _ in range(300)]\n1/0"
        self.check_reports(program, "exception")

    def test_program_closes_all_low_descriptors(self) -> None:
        self.check_reports("import os; os.closerange(3, 256); 1/0", "exception")
        self.check_dump("import os; os.closerange(3, 256); os.abort()", signal.SIGABRT)

    def test_program_closes_every_descriptor_but_the_passed_one(self) -> None:
        program = FD + "os.closerange(fd + 1, 4096)\n" + VICTIM + "1/0"
        for output in OUTPUTS:
            with self.subTest(output):
                self.check_reports(program, "exception", output=output, cwd=self.folder)
                self.assertEqual((self.folder / "victim").read_bytes(), b"")

    def test_program_has_loaded_what_makes_the_next_copy(self) -> None:
        self.check_reports("import fcntl\n" + FD + "os.closerange(fd + 1, 4096)\n1/0", "exception")

    def test_report_never_lands_in_a_file_opened_afterwards(self) -> None:
        program = "import os; os.closerange(3, 4096)\n" + VICTIM + THREAD + "\n1/0"
        for output in OUTPUTS:
            with self.subTest(output):
                self.check_silent(program, output=output, cwd=self.folder)
                self.assertEqual((self.folder / "victim").read_bytes(), b"")

    def test_no_descriptor_left_for_another_program(self) -> None:
        program = "import os; os.closerange(3, 4096)\n" + VICTIM
        self.check_silent(program + EXEC % "1/0", cwd=self.folder)
        self.assertEqual((self.folder / "victim").read_bytes(), b"")

    def test_daemon_keeps_reporting(self) -> None:
        one_by_one = "[os.close(n) for n in range(3, 256) if is_open(n)]"
        for close in ("os.closerange(3, 256)", one_by_one):
            with self.subTest(close):
                self.check_reports(DAEMON.format(close=close), "exception")

    def test_daemon_that_closes_all_keeps_its_crash_file(self) -> None:
        path = self.folder / "crash.log"
        program = DAEMON.format(close="os.closerange(3, 4096)")
        self.run_both(program, pydebug="crashfile=%s" % path)
        wait_until(lambda: b"ZeroDivisionError" in path.read_bytes(), "the daemon's report")


@unittest.skipUnless(shutil.which("sh"), "needs sh")
class ListenName(IdentityTest):
    """systemd's OpenFile=, sd_listen_fds(3)."""

    START = ("/bin/sh", "-c", 'export LISTEN_PID=$$; exec "$0" -c "$1"', sys.executable)

    def run_started(self, program: str, names: str = "crash", to: int = 3, **env: str) -> Result:
        variables = {"LISTEN_FDS": str(names.count(":") + 1), "LISTEN_FDNAMES": names, **env}
        return self.run_moved(*self.START, program, to=to, pydebug="crashfd=@crash", env=variables)

    def check_off(self, result: Result) -> None:
        line, _, rest = result.stderr.partition(b"\n")
        self.assertRegex(line, b"^crashenv: PYDEBUG: crashfd=@crash: .+; crash output is off$")
        self.assertEqual(rest, run("1/0").stderr)
        self.assertEqual(result.crash, b"")

    def test_name_that_was_passed(self) -> None:
        result = self.run_started("1/0")
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))
        self.assertEqual(result.ending(), run("1/0").ending())

    def test_second_of_three_names(self) -> None:
        result = self.run_started("1/0", "web:crash:crash", to=4)
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))

    def test_child_given_the_descriptor_reports_too(self) -> None:
        # LISTEN_PID is not the child's: it only needs the number and the identity.
        result = self.run_started(CHILD_GIVEN % 3)
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))

    def test_child_without_the_descriptor_is_silent(self) -> None:
        result = self.run_started(CHILD)
        self.assertEqual((result.crash, result.stderr), (b"", run("1/0").stderr))

    def test_another_name(self) -> None:
        self.check_off(self.run_started("1/0", "web"))
        self.check_off(self.run_started("1/0", "crash2:"))

    def test_more_names_than_descriptors(self) -> None:
        self.check_off(self.run_started("1/0", "web:crash", to=4, LISTEN_FDS="1"))

    def test_no_count(self) -> None:
        for count in ("", "x", "-1", "9" * 40):
            self.check_off(self.run_started("1/0", LISTEN_FDS=count))

    def test_another_process_was_meant(self) -> None:
        env = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "crash", "LISTEN_PID": "1"}
        result = self.run_moved(sys.executable, "-c", "1/0", pydebug="crashfd=@crash", env=env)
        self.check_off(result)


if __name__ == "__main__":
    unittest.main()
