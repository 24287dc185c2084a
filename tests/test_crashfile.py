"""crashfile: a crash output that the process opens itself, by its path."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
import unittest
from pathlib import Path
from typing import Any

from tests.driver import DEADLINE, Report, Result, WatchedTest, environment, run, split

# Two crashes of a thread, with something between them.
TWICE = """
import os, threading
def crash(text):
    def work(): raise ValueError(text)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
crash('first')
{between}
crash('second')
"""
# Without crashenv there is no crash file.
ROTATE = "if os.path.exists('crash.log'): os.rename('crash.log', 'crash.log.1')"
REMOVE = "if os.path.exists('crash.log'): os.unlink('crash.log')"
REPLACE = REMOVE + "; os.symlink('target', 'crash.log')"
TRUNCATE = "if os.path.exists('crash.log'): os.truncate('crash.log', 0)"
REMOVE_FOLDER = "if os.path.exists('logs/crash.log'): os.unlink('logs/crash.log'); os.rmdir('logs')"
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', '1/0'])"
CHILD_IN_ROOT = CHILD.replace("'1/0']", "'1/0'], cwd='/'")
# First the child continues, and then its parent.
FORK = "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\n"
PID_FILE = r"crash-\d+\.log$"


class CrashfileTest(WatchedTest):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.folder / "crash.log"

    def run_here(self, program: str | list[str], path: str | Path = "") -> Result:
        """Run in the test's folder with ``crashfile=path``; the ending is the same."""
        return self.run_both(program, pydebug="crashfile=%s" % (path or self.log), cwd=self.folder)

    def reports(self, path: Path | None = None) -> list[Report]:
        reports, outside = split((path or self.log).read_bytes())
        self.assertEqual(outside, b"")
        return reports

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def expanded(self, template: str, program: str | list[str] = "pass") -> str:
        """Return the name of the only file that ``template`` made, in its own folder."""
        folder = self.folder / "logs"
        folder.mkdir(exist_ok=True)
        self.run_here(program, folder / template)
        (path,) = folder.iterdir()
        path.unlink()
        return path.name


class Opened(CrashfileTest):
    def test_gets_the_report(self) -> None:
        result = self.run_here("1/0")
        (report,) = self.reports()
        self.assertEqual(report.body.encode(), result.stderr)

    def test_gets_the_dump(self) -> None:
        self.run_here("import os; os.abort()")
        self.assertIn("most recent call first", self.log.read_text())

    def test_is_made_at_the_start_for_its_owner_alone(self) -> None:
        self.run_both("pass", pydebug="crashfile=%s" % self.log, preexec_fn=lambda: os.umask(0))
        self.assertEqual(stat.S_IMODE(self.log.stat().st_mode), 0o600)
        self.assertEqual(self.log.read_bytes(), b"")

    def test_is_there_when_the_program_begins(self) -> None:
        program = "import os; print(os.listdir())"
        result = self.run_with(program, pydebug="crashfile=crash.log", cwd=self.folder)
        self.assertEqual(result.stdout, b"['crash.log']\n")

    def test_is_appended_to_and_keeps_its_mode(self) -> None:
        self.log.write_bytes(b"from before\n")
        self.log.chmod(0o640)
        self.run_here("1/0")
        self.assertRegex(self.log.read_text(), r"^from before\ncrashenv: report ")
        self.assertEqual(stat.S_IMODE(self.log.stat().st_mode), 0o640)

    def test_path_with_spaces_and_other_scripts(self) -> None:
        for name in ("a b", "gr\u00fc\u00df", "a=b:c", "%%s"):
            self.run_here("1/0", self.folder / name)
            self.assertEqual(len(self.reports(self.folder / name.replace("%%", "%"))), 1)

    def test_children_do_not_get_its_descriptor(self) -> None:
        program = "import os; os.system('ls /proc/self/fd | wc -l')"
        result = run(program, env=environment(PYDEBUG="crashfile=%s" % self.log))
        self.assertEqual(result.stdout, run(program).stdout)


class RelativePath(CrashfileTest):
    def test_means_the_same_file_after_chdir(self) -> None:
        self.run_here("import os; os.chdir('/'); 1/0", "crash.log")
        self.assertEqual(len(self.reports()), 1)

    def test_means_the_same_file_in_a_child_elsewhere(self) -> None:
        self.run_here(CHILD_IN_ROOT, "crash.log")
        self.assertEqual(len(self.reports()), 1)

    def test_means_the_same_file_when_reopened(self) -> None:
        program = TWICE.format(between="os.chdir('/'); os.closerange(3, 4096)")
        self.run_here(program, "crash.log")
        self.assertEqual(len(self.reports()), 2)

    def test_folder_with_percent_signs(self) -> None:
        folder = self.folder / "100%d %p"
        folder.mkdir()
        self.run_both(CHILD_IN_ROOT, pydebug="crashfile=crash.log", cwd=folder)
        self.assertEqual(len(self.reports(folder / "crash.log")), 1)

    def test_folder_with_a_comma(self) -> None:
        # The variable cannot contain it, so a child must also be started there.
        folder = self.folder / "a,b"
        folder.mkdir()
        self.run_both(CHILD + "; 1/0", pydebug="crashfile=crash.log", cwd=folder)
        self.assertEqual(len(self.reports(folder / "crash.log")), 2)


class Descendants(CrashfileTest):
    def check_two_processes(self, program: str) -> None:
        self.run_here(program)
        first, second = self.reports()
        self.assertNotEqual(first.fields["pid"], second.fields["pid"])

    def test_forked_child(self) -> None:
        self.check_two_processes(FORK + "1/0")

    def test_python_child(self) -> None:
        self.check_two_processes(CHILD + "; 1/0")

    def test_exec(self) -> None:
        self.run_here("import os, sys; os.execv(sys.executable, [sys.executable, '-c', '1/0'])")
        self.assertEqual(len(self.reports()), 1)

    def test_start_time_and_program_are_those_of_the_first(self) -> None:
        self.write("child.py", "1/0")
        source = "import subprocess, sys; subprocess.run([sys.executable, 'child.py']); 1/0"
        name = self.expanded("%e-%t", [self.write("app.py", source)])
        self.assertRegex(name, r"^app\.py-\d+$")


class Template(CrashfileTest):
    def test_start_time(self) -> None:
        before = int(time.time())
        self.assertTrue(before <= int(self.expanded("%t")) <= time.time())

    def test_host_name(self) -> None:
        self.assertEqual(self.expanded("%h"), re.sub(r"[^A-Za-z0-9._-]", "_", os.uname().nodename))

    def test_host_name_that_leads_elsewhere(self) -> None:
        inside = self.folder / "in"
        inside.mkdir()
        for host in ("../../x", "..", "/x"):
            rename = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'
            launcher = ["unshare", "--uts", "sh", "-c", rename, host]
            try:
                subprocess.run([*launcher, "true"], check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                self.skipTest("needs unshare(1) and the right to make a UTS namespace")
            with self.subTest(host):
                self.run_with("1/0", launcher=launcher, pydebug="crashfile=%s/%%h" % inside)
                (file,) = inside.iterdir()
                self.assertEqual(len(self.reports(file)), 1)
                self.assertEqual(list(self.folder.iterdir()), [inside])
                file.unlink()

    def test_percent_sign(self) -> None:
        self.assertEqual(self.expanded("100%%"), "100%")
        self.assertEqual(self.expanded("%%p%%%%t"), "%p%%t")

    def test_all_of_them(self) -> None:
        self.run_here("1/0", "%e.%h.%p.%t.%%.log")
        (name,) = self.names()
        self.assertRegex(name, r"^python\..+\.\d+\.\d+\.%\.log$")

    def test_script(self) -> None:
        self.assertEqual(self.expanded("%e", [self.write("app.py", "")]), "app.py")

    def test_script_in_another_script(self) -> None:
        name = self.expanded("%e", [self.write("\u0430 b\n.py", "")])
        self.assertRegex(name, r"^[\w.]+$")

    def test_module(self) -> None:
        self.write("package/module.py", "")
        name = "package.module"
        for args in (["-m", name], ["-m" + name], ["-u", "-m", name, "-m", "x"]):
            self.assertEqual(self.expanded("%e", args), name)

    def test_command(self) -> None:
        self.assertEqual(self.expanded("%e", "pass"), "python")

    def test_folder(self) -> None:
        self.write("app/__main__.py", "")
        self.assertEqual(self.expanded("%e", ["app/"]), "app")


class OfEachProcess(CrashfileTest):
    """%p"""

    TEMPLATE = "crash-%p.log"

    def check_files(self, program: str, *counts: int) -> None:
        """Check for as many files as counts, each with that many reports of the pid in its name."""
        self.run_here(program, self.TEMPLATE)
        found = []
        for name in self.names():
            self.assertRegex(name, PID_FILE)
            reports = self.reports(self.folder / name)
            self.assertEqual({"crash-%s.log" % r.fields["pid"] for r in reports} or {name}, {name})
            found.append(len(reports))
        self.assertEqual(sorted(found), list(counts))

    def test_crash_is_kept(self) -> None:
        self.check_files("1/0", 1)

    def test_empty_file_is_removed_at_a_clean_exit(self) -> None:
        self.check_files("import os; assert os.listdir() == ['crash-%d.log' % os.getpid()] or 1")
        self.check_files("raise SystemExit(3)")

    def test_file_is_there_while_the_program_runs(self) -> None:
        program = "import os; print(os.listdir()[0] == 'crash-%d.log' % os.getpid())"
        result = self.run_with(program, pydebug="crashfile=" + self.TEMPLATE, cwd=self.folder)
        self.assertEqual(result.stdout, b"True\n", str(result))

    def test_file_with_a_report_of_a_thread_is_kept_at_a_clean_exit(self) -> None:
        self.check_files(TWICE.format(between=""), 2)

    def test_forked_child_has_its_own(self) -> None:
        self.check_files(FORK + "1/0", 1, 1)

    def test_forked_child_that_ends_cleanly_removes_its_own(self) -> None:
        self.check_files(FORK + "if pid: 1/0", 1)

    def test_parent_that_ends_cleanly_leaves_the_childs(self) -> None:
        self.check_files(FORK + "if not pid: 1/0", 1)

    def test_python_child_has_its_own(self) -> None:
        self.check_files(CHILD, 1)
        self.check_files(CHILD + "; 1/0", 1, 1, 1)

    def test_worker_that_ends_cleanly_leaves_no_empty_file(self) -> None:
        for method in ("fork", "spawn", "forkserver"):
            with self.subTest(method):
                source = """
                    import multiprocessing
                    def work(): pass
                    if __name__ == '__main__':
                        context = multiprocessing.get_context(%r)
                        worker = context.Process(target=work)
                        worker.start()
                        worker.join()
                    """
                path = self.write("app/app.py", source % method)
                logs = self.folder / method
                logs.mkdir()
                self.run_here([path], logs / self.TEMPLATE)
                self.assertEqual(list(logs.iterdir()), [])

    def test_forked_childs_dump_is_in_its_own(self) -> None:
        self.run_here(FORK + "if not pid: os.abort()", self.TEMPLATE)
        (name,) = self.names()
        self.assertIn("most recent call first", (self.folder / name).read_text())

    def test_file_that_somebody_else_made_in_its_place_is_not_removed(self) -> None:
        program = "import os; (name,) = os.listdir(); os.unlink(name); open(name, 'w')"
        self.run_with(program, pydebug="crashfile=" + self.TEMPLATE, cwd=self.folder)
        self.assertEqual(len(self.names()), 1)


class LeftBehind(CrashfileTest):
    """Empty files with %p whose process has ended without removing them."""

    TEMPLATE = "crash-%p.log"
    HOUR_AGO = time.time() - 3600

    def start(self, source: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program; when this returns, its file looks an hour old."""
        env = environment(PYDEBUG="crashfile=" + self.TEMPLATE)
        pipe = subprocess.PIPE
        args = [sys.executable, "-c", "print(flush=True);" + source]
        child = subprocess.Popen(args, env=env, cwd=self.folder, stdin=pipe, stdout=pipe, **options)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        assert child.stdout
        child.stdout.readline()
        os.utime(self.file_of(child), (self.HOUR_AGO, self.HOUR_AGO))
        return child

    def file_of(self, child: subprocess.Popen[bytes]) -> Path:
        return self.folder / self.TEMPLATE.replace("%p", str(child.pid))

    def swept(self) -> list[str]:
        """Return the names that are left after a start and a clean end."""
        result = self.run_with("pass", pydebug="crashfile=" + self.TEMPLATE, cwd=self.folder)
        self.assertEqual((result.status, result.stderr), (0, b""), str(result))
        return self.names()

    def test_of_one_that_was_killed(self) -> None:
        child = self.start("import sys; sys.stdin.read()")
        child.kill()
        child.wait(DEADLINE)
        self.assertEqual(self.swept(), [])

    def test_of_one_that_left_by_exit(self) -> None:
        child = self.start("import os, sys; sys.stdin.read(); os._exit(0)")
        child.communicate(timeout=DEADLINE)
        self.assertEqual(self.swept(), [])

    def test_of_one_that_executed_another_program(self) -> None:
        child = self.start("import os; os.read(0, 1); os.execvp('cat', ['cat'])")
        assert child.stdin and child.stdout
        child.stdin.write(b"xechoed\n")
        child.stdin.flush()
        self.assertEqual(child.stdout.readline(), b"echoed\n")
        self.assertEqual(self.swept(), [])
        self.assertIsNone(child.poll())

    def test_of_a_living_one(self) -> None:
        child = self.start("import sys; sys.stdin.read(); 1/0", stderr=subprocess.DEVNULL)
        self.assertEqual(self.swept(), [self.file_of(child).name])
        child.communicate(timeout=DEADLINE)
        self.assertEqual(len(self.reports(self.file_of(child))), 1)

    def test_of_a_living_fork(self) -> None:
        fork = "import os, sys; pid = os.fork(); print(os.getpid(), flush=True); sys.stdin.read()"
        child = self.start(fork)
        assert child.stdout
        pids = [int(child.stdout.readline()) for _ in range(2)]
        for pid in pids:
            path = self.folder / self.TEMPLATE.replace("%p", str(pid))
            os.utime(path, (self.HOUR_AGO, self.HOUR_AGO))
        self.assertEqual(len(self.swept()), 2)
        os.kill(child.pid, signal.SIGKILL)
        child.wait(DEADLINE)
        (other,) = [pid for pid in pids if pid != child.pid]
        self.assertEqual(self.swept(), [self.TEMPLATE.replace("%p", str(other))])

    def test_other_files_stay(self) -> None:
        names = ["crash-1.log", "crash-x.log", "crash-.log", "crash-1.log.1", "other.log"]
        for name in names:
            (self.folder / name).touch()
            os.utime(self.folder / name, (self.HOUR_AGO, self.HOUR_AGO))
        (self.folder / "crash-2.log").write_text("a report")
        os.utime(self.folder / "crash-2.log", (self.HOUR_AGO, self.HOUR_AGO))
        (self.folder / "crash-3.log").touch()  # young
        os.symlink("other.log", self.folder / "crash-4.log")
        self.assertEqual(
            set(self.swept()),
            {*names[1:], "crash-2.log", "crash-3.log", "crash-4.log"},
        )

    def test_name_that_is_a_percent_sign_too(self) -> None:
        for name in ("100%-1.log", "100%-%p.log", "100-1.log"):
            (self.folder / name).touch()
            os.utime(self.folder / name, (self.HOUR_AGO, self.HOUR_AGO))
        self.TEMPLATE = "100%%-%p.log"
        self.assertEqual(set(self.swept()), {"100%-%p.log", "100-1.log"})


class Link(CrashfileTest):
    def test_link_that_replaces_the_file_is_not_followed(self) -> None:
        target = self.folder / "target"
        target.write_bytes(b"")
        self.run_here(TWICE.format(between=REPLACE))
        self.assertEqual(target.read_bytes(), b"")

    def test_folder_that_is_a_link_is_followed(self) -> None:
        (self.folder / "real").mkdir()
        os.symlink("real", self.folder / "link")
        self.run_here("1/0", self.folder / "link" / "crash.log")
        self.assertEqual(len(self.reports(self.folder / "real" / "crash.log")), 1)

    def test_dev_stderr(self) -> None:
        without = run("1/0")
        result = self.run_with("1/0", pydebug="crashfile=/dev/stderr")
        (report,) = split(result.stderr)[0]
        self.assertEqual(split(result.stderr)[1], without.stderr)
        self.assertEqual(report.body.encode(), without.stderr)

    def test_dev_stdout(self) -> None:
        result = self.run_with("1/0", pydebug="crashfile=/dev/stdout")
        self.assertEqual(len(split(result.stdout)[0]), 1)
        self.assertEqual(result.stderr, run("1/0").stderr)

    def test_dev_fd(self) -> None:
        self.check_reports("1/0", "exception", pydebug="crashfile=/dev/fd/{fd}")

    def test_path_that_only_begins_like_dev(self) -> None:
        target = self.write("target", "as it was")
        os.symlink(target, self.folder / "link")
        self.run_with("1/0", pydebug="crashfile=/dev/..%s" % (self.folder / "link"))
        self.assertEqual((self.folder / "target").read_text(), "as it was")


class Rotated(CrashfileTest):
    def test_renamed_file_is_reopened(self) -> None:
        self.run_here(TWICE.format(between=ROTATE))
        for path, text in ((self.folder / "crash.log.1", "first"), (self.log, "second")):
            (report,) = self.reports(path)
            self.assertIn("ValueError: %s\n" % text, report.body)

    def test_deleted_file_is_reopened(self) -> None:
        self.run_here(TWICE.format(between=REMOVE))
        (report,) = self.reports()
        self.assertIn("ValueError: second\n", report.body)
        self.assertEqual(stat.S_IMODE(self.log.stat().st_mode), 0o600)

    def test_truncated_file_is_written_from_its_beginning(self) -> None:
        self.run_here(TWICE.format(between=TRUNCATE))
        (report,) = self.reports()
        self.assertIn("ValueError: second\n", report.body)

    def test_deleted_folder_is_no_harm(self) -> None:
        (self.folder / "logs").mkdir()
        self.run_here(TWICE.format(between=REMOVE_FOLDER), "logs/crash.log")
        self.assertEqual(self.names(), [])

    def test_dump_follows_the_file_that_a_report_reopened(self) -> None:
        self.run_here(TWICE.format(between=ROTATE) + "os.abort()")
        reports, outside = split(self.log.read_bytes())
        self.assertEqual(len(reports), 1)
        self.assertIn(b"most recent call first", outside)

    def test_child_of_a_rotated_parent_writes_to_the_new_file(self) -> None:
        self.run_here("import os\n" + ROTATE + "\n" + CHILD)
        self.assertEqual(len(self.reports()), 1)


class Fifo(CrashfileTest):
    def setUp(self) -> None:
        super().setUp()
        os.mkfifo(self.log)

    def test_with_a_reader(self) -> None:
        reader = os.open(self.log, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        result = self.run_here("1/0")
        (report,) = split(os.read(reader, 1 << 16))[0]
        self.assertEqual(report.body.encode(), result.stderr)

    def test_without_a_reader_costs_a_line(self) -> None:
        for program in ("print('out')", "1/0"):
            result = self.run_with(program, pydebug="crashfile=%s" % self.log)
            line, _, result.stderr = result.stderr.partition(b"\n")
            self.assertRegex(line, rb"^crashenv: PYDEBUG: crashfile=.*FIFO without a reader")
            self.assertEqual(result.ending(), run(program).ending())

    def test_reader_that_goes_away(self) -> None:
        reader = os.open(self.log, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        program = "import os; os.open('crash.log', os.O_RDONLY | os.O_NONBLOCK); 1/0"
        self.run_here(program)


if __name__ == "__main__":
    unittest.main()
