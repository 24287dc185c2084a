"""The folder of records: whole files, private, limited in size, for many writers at once."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tests.driver import (
    INSTALLED,
    ROOT,
    MonitorTest,
    ProgramTest,
    is_root,
    monitor_environment,
)

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))
from crashenv import _store


def ident(number: int) -> str:
    return "%016x" % number


class StoreTest(ProgramTest):
    def setUp(self) -> None:
        super().setUp()
        self.place = self.folder / "a" / "b"
        self.store = _store.Store(str(self.place))

    def names(self) -> list[str]:
        return [os.path.basename(path) for path in _store.files(str(self.place))]

    def test_is_private(self) -> None:
        before = os.umask(0)
        try:
            path = self.store.add(ident(1), b"{}\n")
        finally:
            os.umask(before)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.place.stat().st_mode), 0o700)

    def test_names_sort_by_time_and_tell_the_id(self) -> None:
        for number in (3, 1, 2):
            self.store.add(ident(number), b"{}\n")
        paths = _store.files(str(self.place))
        self.assertEqual(list(map(_store.identifier, paths)), list(map(ident, (3, 1, 2))))
        self.assertRegex(self.names()[0], r"\A\d{8}T\d{6}\.\d{6}Z-0000000000000003\.json\Z")

    def test_keeps_the_newest_by_number(self) -> None:
        self.store = _store.Store(str(self.place), most_records=5)
        for number in range(20):
            self.store.add(ident(number), b"{}\n")
        self.assertEqual([int(n[24:40], 16) for n in self.names()], [15, 16, 17, 18, 19])

    def test_keeps_the_newest_by_size(self) -> None:
        self.store = _store.Store(str(self.place), most_bytes=1000)
        for number in range(20):
            self.store.add(ident(number), b"x" * 300)
        self.assertEqual([int(n[24:40], 16) for n in self.names()], [17, 18, 19])

    def test_one_that_is_too_large_alone_is_kept(self) -> None:
        self.store = _store.Store(str(self.place), most_bytes=1000)
        self.store.add(ident(1), b"x")
        self.store.add(ident(2), b"x" * 5000)
        self.assertEqual([int(n[24:40], 16) for n in self.names()], [2])

    def test_leaves_files_of_others_alone(self) -> None:
        self.place.mkdir(parents=True)
        for name in ("notes.txt", "data.json", ".hidden-1.json"):
            (self.place / name).write_text("mine")
        self.store = _store.Store(str(self.place), most_records=1, most_bytes=1)
        for number in range(3):
            self.store.add(ident(number), b"xx")
        self.assertEqual(len(self.names()), 1)
        self.assertEqual(len(list(self.place.iterdir())), 4)

    def test_leaves_files_that_are_no_records(self) -> None:
        self.place.mkdir(parents=True)
        record = "20200101T000000.000000Z-%016x.json"
        foreign = [
            *("0-data.json", "2024-01-01-report.json", "a-b.json", "package-lock.json"),
            *("20200101T000000Z-%016x.json" % 1, "20200101T000000.000000Z-xyz.json"),
            *("x" + record % 1, record % 1 + ".json", "20200101T000000.000000Z-.json"),
        ]
        for name in foreign:
            (self.place / name).write_text("mine")
        target = self.folder / "target.json"
        target.write_text("somebody's")
        (self.place / (record % 2)).symlink_to(target)
        os.mkfifo(self.place / (record % 3))
        (self.place / (record % 4)).mkdir()
        kept = sorted(path.name for path in self.place.iterdir())
        (self.place / (record % 5)).write_text("{}")  # and this is one
        self.store = _store.Store(str(self.place), most_records=2, most_bytes=10)
        for number in range(6, 9):
            self.store.add(ident(number), b"{}\n")
        left = sorted(path.name for path in self.place.iterdir())
        self.assertEqual(sorted(set(left) - set(self.names())), kept)
        self.assertEqual([int(n[24:40], 16) for n in self.names()], [7, 8])
        self.assertEqual(target.read_text(), "somebody's")

    @unittest.skipUnless(is_root(), "needs root, to make a file of another user")
    def test_leaves_files_of_another_user(self) -> None:
        first = self.store.add(ident(1), b"{}\n")
        os.chown(first, 65534, 65534)
        self.store = _store.Store(str(self.place), most_records=1)
        for number in (2, 3):
            self.store.add(ident(number), b"{}\n")
        self.assertTrue(os.path.exists(first))
        self.assertEqual([int(n[24:40], 16) for n in self.names()], [3])

    def test_failed_write_leaves_nothing(self) -> None:
        with mock.patch("os.write", side_effect=OSError(28, "No space left on device")):
            with self.assertRaises(OSError):
                self.store.add(ident(1), b"{}\n")
        self.assertEqual(list(self.place.iterdir()), [])

    def test_abandoned_files_are_removed_after_an_hour(self) -> None:
        self.place.mkdir(parents=True)
        for name, age in ((".old.unfinished", 4000), (".new.unfinished", 10)):
            path = self.place / name
            path.write_text("")
            then = path.stat().st_mtime - age
            os.utime(path, (then, then))
        self.store.add(ident(1), b"{}\n")
        self.assertEqual(
            sorted(path.name for path in self.place.iterdir())[:-1], [".new.unfinished"]
        )

    def test_replace_changes_what_is_there_only(self) -> None:
        path = self.store.add(ident(1), b"1")
        self.store.replace(path, b"2")
        self.assertEqual(Path(path).read_bytes(), b"2")
        os.unlink(path)
        self.store.replace(path, b"3")
        self.assertEqual(self.names(), [])

    def test_many_writers_and_a_reader(self) -> None:
        """Every file is always whole, and the limit holds at the end."""
        program = """
            import sys
            from crashenv import _store
            store = _store.Store(sys.argv[1], most_records=20)
            for number in range(100):
                id = "%016x" % (int(sys.argv[2]) * 1000 + number)
                content = '{"id": "%s", "fill": "%s"}\\n' % (id, "x" * number * 50)
                store.add(id, content.encode())
        """
        script = self.write("writer.py", program)
        env = monitor_environment()
        writers = [
            subprocess.Popen([sys.executable, script, str(self.place), str(n)], env=env)
            for n in range(4)
        ]
        seen = 0
        while any(writer.poll() is None for writer in writers):
            seen += self.read_all()
        self.assertEqual([writer.returncode for writer in writers], [0] * 4)
        self.assertGreater(seen, 0)
        self.assertEqual(len(self.names()), 20)
        self.assertEqual(self.read_all(), 20)
        self.assertEqual(len(list(self.place.iterdir())), 20)

    def read_all(self) -> int:
        count = 0
        try:
            paths = _store.files(str(self.place))
        except FileNotFoundError:
            return 0
        for path in paths:
            try:
                content = Path(path).read_text()
            except FileNotFoundError:
                continue  # pruned meanwhile
            self.assertEqual(json.loads(content)["id"], _store.identifier(path))
            count += 1
        return count


class DefaultFolderTest(MonitorTest):
    def test_of_nobody_is_not_in_the_working_directory(self) -> None:
        with mock.patch.dict(os.environ, {"XDG_STATE_HOME": ""}):
            with mock.patch("os.path.expanduser", lambda path: path):
                self.assertEqual(_store.default_folder(), "/.local/state/crashenv")

    def test_follows_the_specification(self) -> None:
        for state in (str(self.folder / "state"), "", "relative"):
            with self.subTest(state), tempfile.TemporaryDirectory() as home:
                folder = Path(state) if os.path.isabs(state) else Path(home, ".local", "state")
                env = {**self.env, "XDG_STATE_HOME": state, "HOME": home}
                self.run_monitored("1/0", env=env, cwd=self.folder)
                self.assertEqual(len(list((folder / "crashenv").iterdir())), 1)


if __name__ == "__main__":
    unittest.main()
