"""macOS, Android and WebAssembly: crashenv is imported, does no harm, and reports what it can.

The first two are simulated by a Linux interpreter without the features that they lack.
Pyodide is real, in Node.js: ``npm install --prefix FOLDER pyodide``, and
CRASHENV_PYODIDE=FOLDER.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

from tests.driver import DEADLINE, INSTALLED, PYPY, ROOT, CommandTest, Result, WatchedTest, run

if not INSTALLED:
    sys.path.insert(0, str(ROOT / "src"))

import crashenv

PACKAGES = str(Path(crashenv.__file__).parent.parent)
PYODIDE = os.environ.get("CRASHENV_PYODIDE", "")
# What macOS lacks, and what Android's C library or its SELinux rules may forbid.
MASK = """
import builtins, io, os, select, sys
sys.platform = "%s"
for module in ("fcntl", "termios", "resource"):
    sys.modules[module] = None
sys.modules["_scproxy"] = proxies = type(sys)("_scproxy")  # of urllib.request on macOS
proxies._get_proxies = proxies._get_proxy_settings = dict
for name in ("memfd_create", "pidfd_open", "posix_fadvise", "sched_getaffinity", "O_PATH"):
    vars(os).pop(name, None)
vars(select).pop("epoll", None)
def refuse(function):
    def refusing(path, *rest, **options):
        if str(path).startswith(("/proc", "b'/proc")):
            raise FileNotFoundError(2, "No such file or directory", path)
        return function(path, *rest, **options)
    return refusing
for name in ("open", "listdir", "readlink", "stat", "lstat"):
    setattr(os, name, refuse(vars(os)[name]))
builtins.open = io.open = refuse(open)
sys.path.insert(0, %r)
"""
ACTIVATE = "import crashenv; crashenv.activate()\n"
CRASHES = {
    "exception": "raise ValueError('b\\u00f6se')",
    "thread": "import threading; t = threading.Thread(target=lambda: 1/0); t.start(); t.join()",
    "displaced": "sys.excepthook = lambda *a: print('mine'); 1/0",
    "forked": "import os\nif os.fork(): os.wait()\nelse: 1/0",
}
# Modules of other systems, or code that is executed elsewhere.
NOT_IMPORTED = {
    "crashenv._crash",
    "crashenv._crash_rare",
    "crashenv._monitor.jobs",
    "crashenv._monitor.windows",
    "crashenv._parent_windows",
    "crashenv._seldom.handles",
    "crashenv._seldom.windows",
}
NEED_FCNTL = {"crashenv._monitor.collect", "crashenv._monitor.family"}


class Masked(WatchedTest):
    def run_masked(self, system: str, source: str, pydebug: str, **options: str) -> Result:
        program = MASK % (system, PACKAGES) + ACTIVATE + source
        return self.run_with(program, pydebug=pydebug, env={"PYTHONPATH": ""}, **options)

    def check(self, system: str, source: str, pydebug: str = "crashfd={fd}") -> Result:
        """Check that the ending is that of the same program without a setting."""
        without = self.run_masked(system, source, "")
        result = self.run_masked(system, source, pydebug)
        self.assertEqual(without.ending(), result.ending(), "\n%s\n\n%s" % (without, result))
        self.assertEqual(without.crash, b"")
        return result

    def test_crashes(self) -> None:
        for system in ("darwin", "android"):
            for name, source in CRASHES.items():
                with self.subTest(system=system, crash=name):
                    result = self.check(system, source)
                    kind = name if name == "thread" else "exception"
                    self.assertEqual([report.kind for report in result.reports], [kind])

    def test_file(self) -> None:
        path = self.folder / "crash.log"
        self.check("darwin", "1/0", "crashfile=%s" % path)
        self.assertTrue(path.read_bytes().startswith(b"crashenv: report kind=exception"))

    def test_native(self) -> None:
        for system in ("darwin", "android"):
            with self.subTest(system):
                source = "os.kill(os.getpid(), %d)" % signal.SIGSEGV
                result = self.check(system, source)
                self.assertEqual(result.status, -signal.SIGSEGV)
                self.assertIn("most recent call first", result.dump, str(result))

    def test_nobody_reads(self) -> None:
        """Without /proc, the passed pipe itself is written to, and waited for."""
        source = MASK % ("darwin", PACKAGES) + ACTIVATE + "raise ValueError('x' * 1000000)"
        reader, writer = os.pipe()
        try:
            result = run(
                source,
                env={**os.environ, "PYDEBUG": "crashfd=%d,crashtimeout=0.5" % writer},
                pass_fds=[writer],
            )
        finally:
            os.close(reader)
            os.close(writer)
        self.assertEqual(result.status, 1)

    def test_every_module_can_be_imported(self) -> None:
        source = """
import pkgutil
for module in pkgutil.walk_packages(crashenv.__path__, "crashenv."):
    try:
        if not module.name.endswith("__main__"):
            __import__(module.name)
    except Exception as error:
        print(module.name, type(error).__name__)
"""
        result = run(MASK % ("darwin", PACKAGES) + "import crashenv\n" + source)
        failed = {line.split()[0] for line in result.stdout.decode().splitlines()}
        self.assertEqual(failed, NOT_IMPORTED | NEED_FCNTL, str(result))


class Commands(CommandTest):
    def test_no_command_prints_a_traceback(self) -> None:
        path = self.write("crash.log", "crashenv: report kind=exception bytes=2\nx\n")
        for arguments, status in (
            (["path"], 0),
            (["parse", path], 0),
            (["list", path], 0),
            (["show", path], 0),
            (["list"], 1),
            (["doctor", "--no-crashes"], 0 if INSTALLED else 1),
            (["prune", "--before", "1d"], 2),
            (["run", "true"], 125),
            (["collect"], 2),
            (["dump", "1"], 2),
        ):
            with self.subTest(arguments):
                source = MASK % ("darwin", PACKAGES)
                source += "from crashenv.__main__ import main; sys.exit(main(%r))" % arguments
                result = run(source, env=self.env)
                self.assertEqual(result.status, status, str(result))
                self.assertNotIn(b"Traceback", result.stdout + result.stderr)


NODE = """
import { loadPyodide } from "%s/node_modules/pyodide/pyodide.mjs";
const python = await loadPyodide({
  args: ["-c", process.argv[3]],
  env: { PYDEBUG: "crashfile=/crash.log", HOME: "/home" },
  stdout: () => {}, stderr: () => {},
});
python.mountNodeFS("/packages", process.argv[2]);
const status = python._module._run_main();
let crash = null;
try { crash = python.FS.readFile("/crash.log", { encoding: "utf8" }); } catch {}
console.log(JSON.stringify([status, crash]));
"""


@unittest.skipUnless(
    PYODIDE and shutil.which("node"), "needs Node.js, and Pyodide in $CRASHENV_PYODIDE"
)
class Pyodide(WatchedTest):
    def run_pyodide(self, source: str) -> tuple[int, str]:
        script = self.write("run.mjs", NODE % os.path.abspath(PYODIDE))
        begin = "import sys; sys.path.insert(0, '/packages')\n" + ACTIVATE
        done = subprocess.run(
            ["node", script, PACKAGES, begin + source],
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        lines = done.stdout.decode().splitlines()
        self.assertTrue(lines, done.stderr.decode())
        status, crash = json.loads(lines[-1])
        return status, crash or ""

    def test_exception(self) -> None:
        for source in ("1/0", "sys.excepthook = lambda *a: None; 1/0"):
            with self.subTest(source):
                status, crash = self.run_pyodide(source)
                self.assertEqual(status, 1)
                self.assertIn("report kind=exception", crash)
                self.assertIn("ZeroDivisionError: division by zero", crash)

    def test_clean_exit(self) -> None:
        self.assertEqual(self.run_pyodide("print('ok')"), (0, ""))

    def test_every_module_can_be_imported(self) -> None:
        source = """
import pkgutil
failed = set()
for module in pkgutil.walk_packages(crashenv.__path__, "crashenv."):
    try:
        if not module.name.endswith("__main__"):
            __import__(module.name)
    except Exception:
        failed.add(module.name)
assert failed == %r, failed
"""
        self.assertEqual(self.run_pyodide(source % NOT_IMPORTED), (0, ""))


if PYPY:
    del Masked.test_native  # dumps are tested elsewhere
