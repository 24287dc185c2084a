"""Windows: python.org's CPython, run by Wine.

``tests/windows/windows_python.sh FOLDER 3.9 3.12 3.13`` sets up the interpreters (Debian, 20
seconds, as root the first time). They are in $CRASHENV_WINDOWS, or ~/.cache/crashenv/windows.
The cases are in ``tests/windows/cases.py``, which the Windows interpreters run themselves:
Wine passes only the standard streams from here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from tests.driver import INSTALLED, ROOT

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

import crashenv
from crashenv import _parent

WINE = "/usr/lib/wine/wine64"
FOLDER = Path(os.environ.get("CRASHENV_WINDOWS") or os.path.expanduser("~/.cache/crashenv/windows"))
DEADLINE = 400  # seconds for all cases of one interpreter
VERSIONS = ("3.9", "3.12", "3.13")
TRIES = 2  # Wine itself sometimes hangs


def windows_path(path: str | os.PathLike[str]) -> str:
    """Wine's drive Z: is the root."""
    return "Z:" + os.path.abspath(path).replace("/", "\\")


def environment() -> dict[str, str]:
    package = Path(crashenv.__file__).parent
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PY", "CRASHENV"))}
    ours.update(
        WINEPREFIX=str(FOLDER / "prefix"),
        WINEDEBUG="-all",
        WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe=",
        CRASHENV_FOLDER=windows_path(_parent.folder()),
        CRASHENV_PACKAGES=windows_path(package.parent),
        CRASHENV_PTH=windows_path(ROOT / "sitecustomize" / "crashenv_startup.pth"),
    )
    return ours


@unittest.skipUnless(os.path.exists(WINE), "needs Wine: " + WINE)
class Windows(unittest.TestCase):
    """``CRASHENV_WINDOWS_CASES`` may name classes or tests, to run only these."""

    runs: ClassVar[dict[str, Future[tuple[list[Any], str]]]]

    @classmethod
    def setUpClass(cls) -> None:
        """Run all interpreters at once: each waits for its children most of the time."""
        there = [one for one in VERSIONS if (FOLDER / one / "python.exe").exists()]
        cls.runs = {}
        if there:
            # Otherwise each start of Wine would wait for its own server to start and end.
            server = [os.path.join(os.path.dirname(WINE), "wineserver64"), "-p600"]
            subprocess.run(server, env=environment(), check=False)
            pool = ThreadPoolExecutor(len(there))
            cls.addClassCleanup(pool.shutdown)
            for version in there:
                cls.runs[version] = pool.submit(run_cases, FOLDER / version / "python.exe")

    def test_cases_on_3_9(self) -> None:
        self.check("3.9")

    def test_cases_on_3_12(self) -> None:
        self.check("3.12")

    def test_cases_on_3_13(self) -> None:
        self.check("3.13")

    def check(self, version: str) -> None:
        if version not in self.runs:
            self.skipTest("needs CPython for Windows: %s" % (FOLDER / version))
        lines, message = self.runs[version].result()
        self.assertEqual(lines[-1:], ["end"], message)
        outcomes = lines[:-1]
        self.assertGreater(sum(outcome == "ok" for _, outcome, _ in outcomes), 0, message)
        for name, outcome, text in outcomes:
            with self.subTest(name):
                self.assertNotEqual(outcome, "failed", "\n" + text)


def run_cases(python: Path) -> tuple[list[Any], str]:
    """Return the lines that the cases wrote, and the output; try again if they do not end."""
    for _ in range(TRIES):
        lines, text = try_cases(python)
        if lines[-1:] == ["end"]:
            break
    return lines, text


def try_cases(python: Path) -> tuple[list[Any], str]:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        cases = windows_path(ROOT / "tests" / "windows" / "cases.py")
        names = os.environ.get("CRASHENV_WINDOWS_CASES", "").split()
        # If the standard streams are files, Wine's programs see a console.
        with subprocess.Popen(
            [WINE, str(python), cases, windows_path(results), *names],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                _, message = process.communicate(b"", timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                message = b"killed after %d s" % DEADLINE
            text = results.read_text(encoding="utf-8") if results.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    return lines, message.decode(errors="replace")[-2000:]
