"""The driver of the tests on Windows: real interpreters, handles and exit statuses.

It is run there by ``tests/test_windows.py``. CRASHENV_FOLDER is the folder that activates
crashenv, CRASHENV_PACKAGES the one to import it from.
"""

from __future__ import annotations

import _winapi
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
from typing import Any
from urllib.parse import unquote

FOLDER = os.environ["CRASHENV_FOLDER"]
PACKAGES = os.environ["CRASHENV_PACKAGES"]
DEADLINE = 90  # seconds; on an idle machine, Wine starts an interpreter in a quarter of one
ACCESS_VIOLATION = 0xC0000005

if PACKAGES not in sys.path:
    sys.path.insert(0, PACKAGES)


def environment(**changes: str) -> dict[str, str]:
    """Return an environment without variables that affect an interpreter, with crashenv."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PY", "CRASHENV"))}
    return {**ours, "PYTHONPATH": FOLDER, **changes}


def command(program: Any) -> list[str]:
    if isinstance(program, str):
        return [sys.executable, "-c", textwrap.dedent(program)]
    return [sys.executable, *program]


class Result:
    def __init__(self, done: Any, crash: bytes = b"") -> None:
        self.status = done.returncode
        self.stdout = done.stdout.decode("utf-8", "replace")
        self.stderr = done.stderr.decode("utf-8", "replace")
        self.crash = crash

    def ending(self) -> tuple[int, str, str]:
        """Return what must be the same with and without crashenv."""
        texts = [re.sub("0x[0-9a-fA-F]+", "0x", text) for text in (self.stdout, self.stderr)]
        return (self.status, texts[0], texts[1])

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in split(self.crash)[0]]

    @property
    def bodies(self) -> list[str]:
        return [body for _, body in split(self.crash)[0]]

    @property
    def dump(self) -> str:
        return split(self.crash)[1].decode()

    def __str__(self) -> str:
        told = "status %#x\n--- stdout\n%s--- stderr\n%s--- crash output\n%s"
        return told % (self.status, self.stdout, self.stderr, self.crash.decode("utf-8", "replace"))


def split(stream: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Return kind and body of each report, and the text outside of them."""
    reports, outside = [], b""
    while stream:
        line, newline, rest = stream.partition(b"\n")
        if line.startswith(b"crashenv: report "):
            fields = dict(item.split("=") for item in line.decode("ascii").split()[2:])
            size = int(fields["bytes"])
            assert len(rest) >= size, "truncated: %r" % stream
            assert rest[size - 1 : size] == b"\n", stream
            reports.append((unquote(fields["kind"]), rest[:size].decode()))
            stream = rest[size:]
        else:
            outside += line + newline
            stream = rest
    return reports, outside


def run(program: Any, **options: Any) -> Result:
    """Run to the end. ``input`` is written to standard input; all standard streams are pipes."""
    options.setdefault("env", environment())
    options.setdefault("input", b"")
    done = subprocess.run(command(program), capture_output=True, timeout=DEADLINE, **options)
    return Result(done)


class CrashPipe:
    """A pipe whose writing end is an inheritable handle, and everything read from it."""

    def __init__(self, size: int = 1 << 20, is_read: bool = True) -> None:
        self.reader, self.handle = _winapi.CreatePipe(None, size)
        os.set_handle_inheritable(self.handle, True)
        self._chunks: list[bytes] = []
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._is_read = is_read
        if is_read:
            self._thread.start()

    def _drain(self) -> None:
        try:
            while True:
                self._chunks.append(_winapi.ReadFile(self.reader, 1 << 16)[0])
        except OSError:  # ERROR_BROKEN_PIPE
            pass

    def startup(self) -> Any:
        return subprocess.STARTUPINFO(lpAttributeList={"handle_list": [self.handle]})

    def finish(self) -> bytes:
        _winapi.CloseHandle(self.handle)
        if not self._is_read:
            self._thread.start()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), "somebody keeps the crash output open"
        return b"".join(self._chunks)


class WindowsTest(unittest.TestCase):
    """Programs that run without and with crashenv, whose endings must be the same."""

    maxDiff = None

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.log = self.path("crash.log")

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def write(self, name: str, source: str) -> str:
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(source))
        return self.path(name)

    def read(self, path: str) -> bytes:
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def run_file(self, program: Any, settings: str = "", **options: Any) -> Result:
        """Run with ``crashfile``, an empty one."""
        if "%" not in self.log:
            open(self.log, "wb").close()
        item = "crashfile=%s%s" % (self.log, "," + settings if settings else "")
        result = run(program, env=environment(PYDEBUG=item), **options)
        result.crash = self.read(self.log)
        return result

    def run_handle(
        self,
        program: Any,
        settings: str = "",
        *,
        item: str = "crashhandle=%d",
        pipe: CrashPipe | None = None,
        is_passed: bool = True,
        **options: Any,
    ) -> Result:
        """Run with ``crashhandle``, which is passed in a handle list."""
        pipe = pipe or CrashPipe()
        text = (item % pipe.handle if "%d" in item else item) + ("," + settings if settings else "")
        variables = environment(PYDEBUG=text)
        startup = pipe.startup() if is_passed else None
        try:
            result = run(program, env=variables, startupinfo=startup, **options)
        finally:
            crash = pipe.finish()
        result.crash = crash
        return result

    def check(self, program: Any, *kinds: str, settings: str = "", **options: Any) -> Result:
        """Check for the same ending, and reports of these kinds, by a file and by a handle."""
        without = run(program, **options)
        result = self.run_file(program, settings, **options)
        by_handle = self.run_handle(program, settings, **options)
        for one in (result, by_handle):
            self.assertEqual(without.ending(), one.ending(), "\n%s\n\n%s" % (without, one))
            self.assertEqual(one.kinds, list(kinds), str(one))
        return result

    def check_dump(self, program: Any, status: int, said: str) -> None:
        without = run(program)
        for one in (self.run_file(program), self.run_handle(program)):
            self.assertEqual(without.ending(), one.ending(), "\n%s\n\n%s" % (without, one))
            self.assertEqual(one.status, status, str(one))
            self.assertTrue(one.dump.startswith(said), str(one))
            self.assertIn("most recent call first", one.dump, str(one))

    def check_silent(self, program: Any, **options: Any) -> None:
        result = self.check(program, **options)
        self.assertEqual(result.crash, b"", str(result))

    # --- commands

    def crashenv(self, *arguments: str, **options: Any) -> Result:
        variables = {"PYTHONPATH": PACKAGES, "LOCALAPPDATA": self.path("local")}
        variables.update(options.pop("env", {}))
        options["env"] = environment(**variables)
        return run(["-m", "crashenv", *arguments], cwd=self.folder, **options)

    def records(self) -> list[dict[str, Any]]:
        folder = os.path.join(self.path("local"), "crashenv")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [json.loads(self.read(os.path.join(folder, name))) for name in names]


def wait_until(condition: Any, what: str) -> Any:
    deadline = time.monotonic() + DEADLINE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(what + " did not come true")
        time.sleep(0.05)
