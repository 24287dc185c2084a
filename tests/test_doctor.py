"""``crashenv doctor``: what PYDEBUG does, the activation, and which reports arrive."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from tests.driver import INSTALLED, PYPY, ROOT, SITECUSTOMIZE, CommandTest, Result, importable

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._cli.doctor import installation

PTH = "crashenv_startup.pth"


class DoctorTest(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        if not INSTALLED:
            self.env["PYTHONPATH"] = os.pathsep.join([str(SITECUSTOMIZE), importable()])

    def doctor(self, pydebug: str | None = None, *arguments: str, **others: Any) -> Result:
        env = others.pop("env", self.env)
        env = env if pydebug is None else {**env, "PYDEBUG": pydebug}
        return self.crashenv("doctor", *arguments, env=env, **others)


class Crashes(DoctorTest):
    def test_each_class_arrives(self) -> None:
        result = self.doctor()
        self.assertEqual((result.status, result.stderr), (0, b""), str(result))
        table = result.stdout.decode().partition("ARRIVED")[2]
        rows = [re.split(r"  +", line.strip()) for line in table.strip().splitlines()]
        found = {row[0]: row[1:3] for row in rows}
        for name, (expected, arrived) in found.items():
            self.assertEqual(expected, arrived, name)
        for kind, name in (
            ("exception", "exception, script"),
            ("exception", "syntax error in the script"),
            ("exception", "child by os.fork"),
            ("thread", "thread"),
            ("thread", "raw thread"),
            ("thread", "thread of a replaced class"),
            ("nothing" if PYPY else "exception", "the same, with another thread"),
            ("exception", "imports forbidden"),
            ("process", "multiprocessing, spawn"),
            ("process", "multiprocessing, spawn, wrapped"),
            ("dump", "SIGSEGV"),
            ("dump", "SIGQUIT"),
            ("nothing", "SIGSEGV, faulthandler in use"),
            ("nothing", "SIGKILL"),
            ("nothing", "sys.exit(1)"),
        ):
            self.assertEqual(found[name], [kind, kind], name)

    def test_not_activated(self) -> None:
        if INSTALLED:
            self.skipTest("crashenv is installed here")
        self.env["PYTHONPATH"] = importable()
        result = self.doctor()
        self.assertEqual((result.status, result.stderr), (1, b""), str(result))
        output = result.stdout.decode()
        self.assertIn("  bad   not activated: install crashenv, or put ", output)
        self.assertRegex(output, r"\n  SIGSEGV +dump +nothing  \(bad\)\n")
        self.assertRegex(output, r"\n  clean exit +nothing +nothing +not a crash\n")


class Setting(DoctorTest):
    def check(self, pydebug: str, text: str, status: int, **others: Any) -> None:
        result = self.doctor(pydebug, "--no-crashes", **others)
        section = result.stdout.decode().partition("PYDEBUG\n")[2].partition("\n\n")[0]
        self.assertIn(text, section, str(result))
        self.assertEqual(result.status, status, str(result))

    def test_not_set(self) -> None:
        for pydebug in ("", "other=1"):
            self.check(pydebug, "note  not set", 0)

    def test_descriptor(self) -> None:
        read_end, write_end = os.pipe()
        status = os.fstat(write_end)
        try:
            text = "ok    reports go to descriptor %d, a pipe (%d:%d)"
            text %= write_end, status.st_dev, status.st_ino
            self.check("crashfd=%d" % write_end, text, 0, pass_fds=[write_end])
            self.check("crashfd=%d" % write_end, "active in this process", 0, pass_fds=[write_end])
            text = "crashfd=%d: is not open" % write_end
            self.check("crashfd=%d" % write_end, text, 1)
            text = "crashfd=%d: is not open for writing; crash output is off" % read_end
            self.check("crashfd=%d" % read_end, text, 1, pass_fds=[read_end])
            self.check(
                "crashfd=%d:1:2" % write_end,
                "was not passed to this process",
                0,
                pass_fds=[write_end],
            )
        finally:
            os.close(read_end)
            os.close(write_end)

    def test_file(self) -> None:
        path = self.folder / "crash.log"
        self.check("crashfile=%s.%%p" % path, "ok    reports are appended to %s." % path, 0)
        self.assertEqual(list(self.folder.glob("crash.log*")), [])
        self.check("crashfile=%s/x/y" % self.folder, "No such file or directory", 1)
        self.check("crashfile=%s" % self.folder, "Is a directory", 1)

    def test_wrong_items(self) -> None:
        self.check("crashlimit=1x,crashfile=/dev/null", "bad   crashlimit=1x: is not a number", 1)
        self.check("crashxyz=1", "bad   crashxyz=1: is not a setting", 1)
        self.check("crashthreads=fatal", "there is neither crashfd nor crashfile", 1)
        self.check("crashlimit=4K,crashfile=/dev/null", "ok    crashlimit is 4096", 0)
        self.check("crashfd=@name", "no descriptor with that name", 1)


class Activation(DoctorTest):
    """With site folders and a PYTHONPATH that the test makes."""

    def setUp(self) -> None:
        super().setUp()
        self.site = self.folder / "site-packages"
        self.site.mkdir()
        self.line = (SITECUSTOMIZE / PTH).read_text()

    def install(self, folder: Path) -> Path:
        (folder / "crashenv").mkdir(parents=True)
        (folder / "crashenv" / "__init__.py").write_text("")
        (folder / PTH).write_text(self.line)
        return folder / PTH

    def found(self, *folders: Path, python_path: str = "") -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"ok": [], "note": [], "bad": []}
        with mock.patch.object(sys, "path", []):
            paths = list(map(str, folders or [self.site]))
            for state, text in installation.findings(paths, python_path):
                found[state].append(text)
        return found

    def check_bad(self, text: str, **options: Any) -> None:
        found = self.found(**options)
        self.assertIn(text, found["bad"][0])
        self.assertEqual(found["ok"], [])

    def test_installed(self) -> None:
        path = self.install(self.site)
        self.assertEqual(self.found(), {"ok": ["installed: %s" % path], "note": [], "bad": []})

    def test_nothing(self) -> None:
        found = self.found()
        self.assertIn("not installed", found["note"][0])
        self.assertIn("not activated", found["bad"][0])

    def test_installed_twice(self) -> None:
        other = self.folder / "user"
        self.install(self.site)
        self.install(other)
        found = self.found(self.site, other)
        self.assertEqual(len(found["ok"]), 2)
        self.assertIn("installed 2 times", found["note"][0])

    def test_orphaned(self) -> None:
        (self.site / PTH).write_text(self.line)
        self.check_bad("is orphaned")

    def test_damaged(self) -> None:
        self.install(self.site).write_text("")
        self.check_bad("is damaged")

    def test_dangling(self) -> None:
        self.install(self.site).unlink()
        (self.site / PTH).symlink_to("gone")
        self.check_bad("cannot be read: No such file")

    def test_hidden(self) -> None:
        self.install(self.site)
        with mock.patch.object(installation, "is_hidden", lambda status: True):
            self.check_bad("is hidden")
        for flags, hidden in (
            ({"st_flags": 0x8000}, True),  # UF_HIDDEN (chflags(2))
            ({"st_flags": 0x20}, False),
            ({"st_file_attributes": 2}, True),
            ({"st_file_attributes": 32}, False),
            ({}, False),
        ):
            status: Any = SimpleNamespace(**flags)
            self.assertEqual(installation.is_hidden(status), hidden, flags)

    def test_start_file_beside(self) -> None:
        self.install(self.site)
        (self.site / "crashenv_startup.start").write_text("")
        with mock.patch.object(sys, "version_info", (3, 14, 0)):
            self.assertEqual(self.found()["bad"], [])
        with mock.patch.object(sys, "version_info", (3, 15, 0)):
            self.check_bad("crashenv_startup.start is in the same folder (PEP 829)")
        (self.site / "crashenv_startup.start").unlink()
        with mock.patch.object(sys, "version_info", (3, 18, 0)):
            self.check_bad("Python 3.18 reads no import lines")

    def test_python_path(self) -> None:
        found = self.found(python_path=str(SITECUSTOMIZE))
        self.assertEqual(found["bad"], [])
        self.assertEqual(found["ok"], ["on PYTHONPATH: %s/sitecustomize.py" % SITECUSTOMIZE])

    def test_python_path_without_the_package(self) -> None:
        for name in ("alone", "crashenv"):
            copy = self.folder / "copies" / name / "sitecustomize"
            shutil.copytree(SITECUSTOMIZE, copy)
            self.check_bad("does nothing: the package crashenv is missing", python_path=str(copy))

    def test_shadowed(self) -> None:
        other = Path(self.write("other/sitecustomize.py", "")).parent
        shadowed = "%s%s%s" % (other, os.pathsep, SITECUSTOMIZE)
        self.check_bad("is shadowed by %s" % other, python_path=shadowed)
        found = self.found(python_path="%s%s%s" % (SITECUSTOMIZE, os.pathsep, other))
        self.assertEqual((len(found["ok"]), found["bad"]), (1, []))
        self.assertIn("is run by crashenv's", found["note"][-1])
