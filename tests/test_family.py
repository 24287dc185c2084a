"""What a process announces to its monitor, and its last words, which outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import unittest

from tests.driver import DEADLINE, INSTALLED, ROOT, importable, wait_until

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))
from crashenv._seldom import family

BEGIN = "import os, sys\nfrom crashenv._seldom import family\nfamily.join(sys.argv[1])\n"


@unittest.skipUnless(hasattr(os, "memfd_create"), "needs memfd_create")
class FamilyTest(unittest.TestCase):
    def setUp(self) -> None:
        self.source, target = os.pipe()
        os.close(target)  # processes open the other end by its path
        self.board = os.memfd_create("board")
        for fd in (self.source, self.board):
            self.addCleanup(os.close, fd)
        os.ftruncate(self.board, family.slot_size() << 22)

    def value(self) -> str:
        places = []
        for fd in (self.source, self.board):
            status = os.fstat(fd)
            place = (os.getpid(), fd, status.st_dev, status.st_ino)
            places.append("/proc/%d/fd/%d:%d:%d" % place)
        return ":".join(places)

    def start(self, source: str, value: str | None = None) -> subprocess.Popen[bytes]:
        args = [sys.executable, "-c", BEGIN + source, self.value() if value is None else value]
        env = {**os.environ, "PYTHONPATH": importable()}
        pipe = subprocess.PIPE
        child = subprocess.Popen(args, env=env, stdin=pipe, stdout=pipe, stderr=pipe)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        return child

    def finish(self, child: subprocess.Popen[bytes]) -> list[list[bytes]]:
        """Check for a clean end without output; return the announcements without the thread."""
        out, err = child.communicate(timeout=DEADLINE)
        self.assertEqual((child.returncode, err), (0, b""), out)
        return [line.split(b" ")[:3] for line in self.arrived()]

    def arrived(self) -> list[bytes]:
        os.set_blocking(self.source, False)
        try:
            return os.read(self.source, 1 << 20).splitlines()
        except BlockingIOError:
            return []

    def words_of(self, pid: int) -> str:
        slot = os.pread(self.board, family.ROOM, pid * family.slot_size())
        return family.last_words(slot)

    def test_joining_forking_and_leaving(self) -> None:
        child = self.start(
            "os.register_at_fork(after_in_child=family.forked)\n"
            "pid = os.fork()\n"
            "if pid == 0: os._exit(0)\n"
            "os.waitpid(pid, 0); family.leave(); print(pid)"
        )
        out, err = child.communicate(timeout=DEADLINE)
        self.assertEqual(err, b"")
        joined, forked, left = self.arrived()
        self.assertTrue(joined.startswith(b"join %d %d " % (child.pid, os.getpid())), joined)
        if sys.version_info >= (3, 10):
            self.assertIn(sys.executable.encode() + b"\0-c\0", joined)
        self.assertEqual(forked.split(b" ")[:3], [b"fork", out.strip(), b"%d" % child.pid])
        self.assertEqual(left, b"left %d" % child.pid)

    def test_last_words_survive_sigkill(self) -> None:
        child = self.start(
            "for n in range(1000): family.note('step %d' % n)\n"
            "print('ready', flush=True); sys.stdin.read()"
        )
        assert child.stdout
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        self.assertEqual(child.wait(DEADLINE), -signal.SIGKILL)
        lines = self.words_of(child.pid).splitlines()
        first = int(lines[0].split()[1])
        self.assertEqual(lines, ["step %d" % n for n in range(first, 1000)])
        self.assertGreater(sum(map(len, lines)) + len(lines), family.ROOM - 20)

    def test_a_forked_process_has_words_of_its_own(self) -> None:
        child = self.start(
            "os.register_at_fork(after_in_child=family.forked)\n"
            "family.note('parent')\n"
            "pid = os.fork()\n"
            "if pid == 0: family.note('child'); os._exit(0)\n"
            "os.waitpid(pid, 0); family.note('again'); print(pid)"
        )
        out, err = child.communicate(timeout=DEADLINE)
        self.assertEqual((self.words_of(child.pid), err), ("parent\nagain\n", b""))
        self.assertEqual(self.words_of(int(out)), "child\n")

    def test_words_of_an_earlier_process_of_that_number_are_gone(self) -> None:
        child = self.start("sys.stdin.readline(); family.note('new')")
        assert child.stdin
        wait_until(self.arrived, "the arrival")
        os.pwrite(self.board, b"old\n" * 1000 + b"\0", child.pid * family.slot_size())
        child.communicate(b"\n", timeout=DEADLINE)
        self.assertEqual(self.words_of(child.pid), "new\n")

    def test_any_text(self) -> None:
        source = "for text in ('', 'a\\nb', 'c\\0d', '\\udc80', '\\xe4'): family.note(text)"
        child = self.start(source)
        self.finish(child)
        self.assertEqual(self.words_of(child.pid), "\na b\nc d\n\\udc80\nä\n")
        child = self.start("family.note('short'); family.note('x' * 100_000)")
        self.finish(child)
        self.assertEqual(self.words_of(child.pid), "x" * (family.ROOM - 2) + "\n")

    def test_another_file_is_not_written_to(self) -> None:
        with open(__file__, "rb") as other:
            before = other.read()
            status = os.fstat(other.fileno())
            path = "/proc/%d/fd/%d" % (os.getpid(), other.fileno())
            for value in (
                "%s:1:2:%s:1:2" % (path, path),
                "/nonexistent:1:2:/nonexistent:%d:%d" % (status.st_dev, status.st_ino),
                "nonsense",
                ":::::",
            ):
                with self.subTest(value):
                    child = self.start("family.note('x'); family.leave()", value)
                    self.assertEqual(self.finish(child), [])
            other.seek(0)
            self.assertEqual(other.read(), before)

    def test_full_pipe_and_no_reader_cost_nothing(self) -> None:
        target = os.open("/proc/self/fd/%d" % self.source, os.O_WRONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, target)
        try:
            while True:
                os.write(target, b"x" * 4096)
        except BlockingIOError:
            pass
        self.finish(self.start("family.leave()"))

    def test_no_module_is_imported_before_the_first_note(self) -> None:
        child = self.start("print('mmap' in sys.modules); family.note('x')")
        out, _ = child.communicate(timeout=DEADLINE)
        self.assertEqual(out, b"False\n")

    def test_note_takes_text_alone(self) -> None:
        self.assertRaises(TypeError, family.note, b"bytes")


if __name__ == "__main__":
    unittest.main()
