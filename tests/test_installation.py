"""Activation before user code: installed, by sitecustomize/, both, neither, or half of it."""

from __future__ import annotations

import functools
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests import driver
from tests.driver import (
    PYPY,
    ROOT,
    SITECUSTOMIZE,
    ProgramTest,
    environment,
    obey_permissions,
    run,
)

SOURCE = ROOT / "src" / "crashenv"
DYING = {
    *("__init__", "_api", "_hooks", "_wire", "_crash", "_crash_rare"),
    *("_seldom/" + path.stem for path in (SOURCE / "_seldom").glob("*.py")),
}

# A crash of a thread, whose hook is replaced, and one of the main thread.
CRASHES = """
import threading
thread = threading.Thread(target=lambda: 1/0)
thread.start()
thread.join()
1/0
"""
MODULES = "import sys; print(*sorted(sys.modules))"
PYTHON = sys.executable  # the tests' own
OURS = ("crashenv", "faulthandler")


def pip(*args: str) -> None:
    """Run pip; raise SkipTest if it is missing, or cannot get hatchling."""
    command = [PYTHON, "-m", "pip", "-q", "--disable-pip-version-check", *args]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        last = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
        raise unittest.SkipTest("needs pip 22.3, and an index with hatchling: %s" % last)


@functools.cache
def installed() -> Path:
    """Return the site-packages of a virtual environment in which the wheel was installed."""
    folder = Path(tempfile.mkdtemp())
    unittest.addModuleCleanup(shutil.rmtree, folder)
    unittest.addModuleCleanup(installed.cache_clear)
    pip("wheel", "--no-deps", "-w", str(folder), str(ROOT))
    python = new_environment(folder / "environment")
    (wheel,) = folder.glob("*.whl")
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    return site_packages(python)


def new_environment(folder: Path) -> Path:
    """Make a virtual environment; return its interpreter."""
    venv.EnvBuilder(symlinks=True).create(folder)
    return folder / "bin" / "python"


def site_packages(python: Path) -> Path:
    source = "import sysconfig; print(sysconfig.get_path('purelib'))"
    path = Path(subprocess.check_output([python, "-I", "-c", source], text=True).strip())
    assert python.parent.parent in path.parents, path  # because the tests remove files there
    return path


class EnvironmentTest(ProgramTest):
    """Tests whose programs run in a virtual environment, with only that on their path."""

    def setUp(self) -> None:
        super().setUp()
        self.use(new_environment(self.folder / "environment"))

    def use(self, python: Path) -> None:
        self.python = python
        self.site = site_packages(python)
        for target, name, value in ((sys, "executable", str(python)), (driver, "INSTALLED", True)):
            patch = mock.patch.object(target, name, value)
            patch.start()
            self.addCleanup(patch.stop)


class InstalledTest(EnvironmentTest):
    def setUp(self) -> None:
        self.wheel = installed()
        super().setUp()
        shutil.copytree(self.wheel, self.site, dirs_exist_ok=True)
        self.package = self.site / "crashenv"


class Installed(InstalledTest):
    def test_reports(self) -> None:
        self.check_reports(CRASHES, "thread", "exception")

    def test_reports_from_the_second_start_on_too(self) -> None:
        self.check_exception("1/0")
        self.check_exception("1/0")

    def test_what_the_wheel_holds(self) -> None:
        names = sorted(path.name for path in self.wheel.iterdir())
        package, info, startup = names
        self.assertEqual((package, startup), ("crashenv", "crashenv_startup.pth"))
        self.assertRegex(info, r"^crashenv-[\d.]+\.dist-info$")
        inside = {path.name for path in self.package.iterdir()}
        self.assertLessEqual({"py.typed", "__init__.py", "sitecustomize"}, inside)

    def ending(self, *program: str, output: int = subprocess.PIPE) -> tuple[int, bytes, bytes]:
        python = self.wheel.parents[2] / "bin" / "python"
        env = environment(PYTHONPATH=str(self.folder))
        done = subprocess.run(
            [python, *program], stdout=output, stderr=subprocess.PIPE, env=env, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def test_script_ends_as_the_module_does(self) -> None:
        """It leaves out the interpreter's finalization, if nothing is to be done there."""
        script = str(self.wheel.parents[2] / "bin" / "crashenv")
        for arguments in (["--version"], ["parse", "/nowhere"], ["list", "--since", "x"], ["no"]):
            for path in (os.devnull, "/dev/full"):
                with self.subTest(arguments=arguments, path=path), open(path, "wb") as file:
                    one = self.ending("-m", "crashenv", *arguments, output=file.fileno())
                    self.assertEqual(self.ending(script, *arguments, output=file.fileno()), one)
            self.assertEqual(
                self.ending(script, *arguments), self.ending("-m", "crashenv", *arguments)
            )
        self.assertEqual(self.ending(script, "--version")[0], 0)
        self.assertIn(b"function calls", self.ending("-m", "cProfile", script, "--version")[1])
        end = """
            import os, sys
            class End:
                def __del__(self, write=os.write): write(1, b"finalized")
            sys.end = End()
            """
        self.write("sitecustomize.py", end)
        if not PYPY:  # which runs no finalizer at exit
            self.assertIn(b"finalized", self.ending("-m", "crashenv", "--version")[1])
        self.assertNotIn(b"finalized", self.ending(script, "--version")[1])
        self.write("sitecustomize.py", "import atexit; atexit.register(print, 'at exit')")
        self.assertIn(b"at exit", self.ending(script, "--version")[1])

    def test_script_starts_without_re(self) -> None:
        scripts = self.wheel.parents[2] / "bin"
        script = scripts / "crashenv"
        self.assertTrue(os.access(script, os.X_OK))
        done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
        self.assertRegex(done.stdout, r"^crashenv \d", done.stderr)
        for options, expected in ((["-c", "import re"], True), ([str(script), "--version"], False)):
            command = [str(scripts / "python"), "-v", *options]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertIn("\nimport 'site' #", done.stderr)
            self.assertEqual("\nimport 're' #" in done.stderr, expected, done.stderr)

    def test_package_is_the_installed_one(self) -> None:
        result = run("import crashenv; print(crashenv.__file__)")
        self.assertEqual(result.stdout.decode().strip(), str(self.package / "__init__.py"))

    def test_import_error_in_the_first_import(self) -> None:
        self.check_exception([self.write("app.py", "import missing_module_x")])

    def test_early_line_of_another_package(self) -> None:
        hook = "import sys; sys.excepthook = lambda *error: print('mine')"
        (self.site / "aaa.pth").write_text("import early\n")
        for source in (hook, "import threading", "import faulthandler; faulthandler.enable()"):
            with self.subTest(source):
                (self.site / "early.py").write_text(source)
                env = {"PYTHONDONTWRITEBYTECODE": "1"}
                self.check_reports(CRASHES, "thread", "exception", env=env)

    def test_clean_program_is_silent(self) -> None:
        self.check_silent("print('out')")

    def test_interpreter_that_ignores_its_environment(self) -> None:
        # -E and -I still run the .pth lines of a virtual environment.
        self.check_silent(["-E", "-c", "1/0"])
        self.check_silent(["-I", "-c", "1/0"])

    def test_interpreter_without_site(self) -> None:
        self.check_silent(["-S", "-c", "1/0"])

    def test_optimized_interpreter(self) -> None:
        self.check_exception(["-O", "-c", "1/0"])
        self.check_exception(["-OO", "-c", "1/0"])

    def test_isolated_child_of_the_program(self) -> None:
        child = "import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', '1/0'])"
        self.check_silent(child)

    def test_uninstalling_leaves_nothing_behind(self) -> None:
        pip("--python", str(self.python), "uninstall", "-y", "crashenv")
        self.assertEqual(list(self.site.glob("*")), [])  # pip removes an empty folder


class Editable(EnvironmentTest):
    def setUp(self) -> None:
        super().setUp()
        self.environment = self.python.parent.parent
        self.before = set(self.environment.rglob("*"))
        pip("--python", str(self.python), "install", "--no-deps", "-e", str(ROOT))

    def test_reports(self) -> None:
        self.assertTrue((self.site / "crashenv_startup.pth").is_file())
        self.check_reports(CRASHES, "thread", "exception")

    def test_package_is_the_checkouts(self) -> None:
        result = run("import crashenv; print(crashenv.__file__)")
        self.assertEqual(Path(result.stdout.decode().strip()).parent, ROOT / "src" / "crashenv")

    def test_printed_folder_works_in_another_environment(self) -> None:
        check_printed_folder(self)

    def test_uninstalling_leaves_nothing_behind(self) -> None:
        self.check_exception("1/0")
        pip("--python", str(self.python), "uninstall", "-y", "crashenv")
        self.assertEqual(set(self.environment.rglob("*")) - self.before, set())


class Caches(InstalledTest):
    """The package's modules in all kinds of caches."""

    def test_no_cache(self) -> None:
        shutil.rmtree(self.package / "__pycache__")
        self.check_exception("1/0", env={"PYTHONDONTWRITEBYTECODE": "1"})

    def test_cache_elsewhere(self) -> None:
        env = {"PYTHONPYCACHEPREFIX": str(self.folder / "cache")}
        self.check_exception("1/0", env=env)
        self.check_exception("1/0", env=env)

    def test_cache_that_is_checked_by_hash(self) -> None:
        self.compile("--invalidation-mode", "checked-hash", "-f")
        self.check_exception("1/0")

    def test_sources_that_are_newer(self) -> None:
        for path in self.package.glob("*.py"):
            os.utime(path, (1, 1))
        self.check_exception("1/0", env={"PYTHONDONTWRITEBYTECODE": "1"})

    def test_no_sources(self) -> None:
        self.compile("-b")
        for path in self.package.glob("*.py"):
            path.unlink()
        shutil.rmtree(self.package / "__pycache__")
        self.check_exception("1/0")

    def test_read_only(self) -> None:
        shutil.rmtree(self.package / "__pycache__")
        self.package.chmod(0o500)
        self.check_exception("1/0", preexec_fn=obey_permissions())

    def compile(self, *options: str) -> None:
        args = [str(self.python), "-m", "compileall", "-q", *options, str(self.package)]
        subprocess.run(args, check=True)


class Broken(InstalledTest):
    """If parts of the package are missing, nothing is printed, and the status is the same."""

    def check_no_harm(self, **options: Any) -> None:
        self.run_both("print('out')", **options)
        self.run_both(CRASHES, **options)
        self.run_both(CRASHES, pydebug="crashfile=%s" % (self.folder / "log"), **options)

    def check_each_module(
        self, damage: Callable[[Path], object], *, but: str = "", **options: Any
    ) -> None:
        """Check that nothing changes, with one module after the other damaged."""
        for path in [self.package / (name + ".py") for name in sorted(DYING - {but})]:
            before = path.read_bytes()
            with self.subTest(path.name):
                damage(path)
                self.check_no_harm(**options)
            path.unlink(missing_ok=True)
            path.write_bytes(before)

    def test_package_removed(self) -> None:
        shutil.rmtree(self.package)
        self.check_no_harm()
        self.package.mkdir()
        self.check_no_harm()

    def test_package_replaced_by_another(self) -> None:
        shutil.rmtree(self.package)
        (self.site / "crashenv.py").write_text("raise SystemExit(7)")
        self.check_no_harm()

    def test_module_missing(self) -> None:
        self.check_each_module(lambda path: path.unlink())

    def test_module_with_a_syntax_error(self) -> None:
        self.check_each_module(lambda path: path.write_text("def ("))

    def test_module_left_empty_by_a_full_disk(self) -> None:
        self.check_each_module(lambda path: path.write_text(""))

    def test_module_that_ends_the_program(self) -> None:
        # A signal's handler may raise it while _hooks is executed; then it must not be lost.
        self.check_each_module(lambda path: path.write_text("raise SystemExit(7)"), but="_hooks")

    def test_module_that_cannot_be_read(self) -> None:
        shutil.rmtree(self.package / "__pycache__")
        self.check_each_module(lambda path: path.chmod(0), preexec_fn=obey_permissions())

    def test_package_that_cannot_be_read(self) -> None:
        self.package.chmod(0)
        self.addCleanup(self.package.chmod, 0o700)
        self.check_no_harm(preexec_fn=obey_permissions())

    def test_cache_cut_off(self) -> None:
        for path in sorted((self.package / "__pycache__").iterdir()):
            if path.name.partition(".")[0] not in DYING:
                continue
            before = path.read_bytes()
            with self.subTest(path.name):
                path.write_bytes(before[: len(before) // 2])
                self.check_no_harm(env={"PYTHONDONTWRITEBYTECODE": "1"})
            path.write_bytes(before)


class Sitecustomize(EnvironmentTest):
    """The folder on PYTHONPATH, in an environment that does not have the package."""

    FOLDER = str(SITECUSTOMIZE)
    SHOW = (
        "import sys; print(sys.path); print(sys.modules.get('sitecustomize'))\n"
        "try: import sitecustomize\n"
        "except ImportError as error: print(repr(error))"
    )

    def check_as_without(self, program: str, *after: str) -> None:
        """Check for the same ending with our folder before the others, and without it."""
        env = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(after)}
        without = run(program, env=driver.environment(**env))
        env["PYTHONPATH"] = os.pathsep.join([self.FOLDER, *after])
        for pydebug in ("", "crashfd={fd}"):
            result = self.run_with(program, pydebug=pydebug, env=env)
            self.assertEqual(result.ending(), without.ending(), "\n%s\n\n%s" % (without, result))

    def shadowed(self, source: str) -> str:
        """Make a folder with another sitecustomize."""
        return os.path.dirname(self.write("site/sitecustomize.py", source))

    def test_reports(self) -> None:
        self.check_reports(CRASHES, "thread", "exception", env={"PYTHONPATH": self.FOLDER})

    def test_reports_however_the_path_is_written(self) -> None:
        parent, name = os.path.split(self.FOLDER)
        os.symlink(self.FOLDER, self.folder / "link")
        for path in (self.FOLDER + "/", name, "./" + name, parent + "/./" + name):
            self.check_exception("1/0", env={"PYTHONPATH": path}, cwd=parent)

    def test_path_and_modules_are_as_without(self) -> None:
        self.check_as_without(self.SHOW)
        self.check_as_without(self.SHOW, str(self.folder), "relative")

    def test_folder_given_twice(self) -> None:
        path = os.pathsep.join([self.FOLDER, self.FOLDER + "/"])
        self.check_exception("1/0", env={"PYTHONPATH": path})

    def test_shadowed_sitecustomize_runs(self) -> None:
        shadowed = self.shadowed("print('shadowed', __name__, __file__, __spec__.name)\nset = 1")
        self.check_as_without("import sitecustomize; print(sitecustomize.set)", shadowed)
        self.check_as_without(self.SHOW, shadowed)

    def test_shadowed_sitecustomize_that_is_a_package(self) -> None:
        self.write("site/sitecustomize/__init__.py", "print('shadowed'); from . import part")
        self.write("site/sitecustomize/part.py", "print(__name__)")
        self.check_as_without(self.SHOW, str(self.folder / "site"))

    def test_errors_of_a_shadowed_sitecustomize_show_as_without(self) -> None:
        for source in (
            "raise ValueError('mine')",
            "import missing_module_x",
            "raise ImportError('mine', name='sitecustomize')",
            "def (",
            "import sys; del sys.modules['sitecustomize']",
        ):
            with self.subTest(source):
                self.check_as_without(self.SHOW, self.shadowed(source))

    def test_shadowed_sitecustomize_that_ends_the_program(self) -> None:
        shadowed = self.shadowed("print('mine', flush=True); import os; os._exit(3)")
        self.check_as_without(self.SHOW, shadowed)

    def test_shadowed_sitecustomize_that_stops_the_interpreter(self) -> None:
        # site prints its traceback, which has one more line, because ours imported it.
        for source in ("raise SystemExit(3)", "raise KeyboardInterrupt"):
            path = self.shadowed(source)
            without = run("print('out')", env=driver.environment(PYTHONPATH=path))
            path = os.pathsep.join([self.FOLDER, path])
            result = self.run_with("print('out')", env={"PYTHONPATH": path})
            self.assertEqual(
                (result.status, result.stdout), (without.status, without.stdout), str(result)
            )
            self.assertEqual(result.crash, b"")

    def test_shadowed_sitecustomize_that_replaces_the_excepthook(self) -> None:
        shadowed = self.shadowed("import sys; sys.excepthook = lambda *e: print('mine')")
        env = {"PYTHONPATH": os.pathsep.join([self.FOLDER, shadowed])}
        result = self.run_with("1/0", env=env)
        self.assertEqual((result.stdout, result.stderr), (b"mine\n", b""))
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))

    def test_usercustomize_still_runs(self) -> None:
        self.write("site/usercustomize.py", "print('user')")
        program = "import sys; print('usercustomize' in sys.modules)"
        self.check_as_without(program, str(self.folder / "site"))

    def test_checkout_of_any_name(self) -> None:
        for name in ("crashenv", "src", "other name"):
            checkout = self.folder / "checkouts" / name
            for part in ("sitecustomize", "src"):
                shutil.copytree(ROOT / part, checkout / part)
            with self.subTest(name):
                env = {"PYTHONPATH": str(checkout / "sitecustomize")}
                self.check_reports(CRASHES, "thread", "exception", env=env)

    def test_package_missing_beside_it(self) -> None:
        copy = shutil.copytree(SITECUSTOMIZE, self.folder / "copy")
        self.run_both(CRASHES, env={"PYTHONPATH": str(copy)})

    def test_older_interpreters_start_as_without(self) -> None:
        found = list(older_interpreters())
        if not found:
            self.skipTest("needs an interpreter older than 3.9 on PATH or in pyenv")
        shadowed = self.shadowed("print('shadowed')")
        for python in found:
            with self.subTest(python):
                with mock.patch.object(sys, "executable", python):
                    for program in ("import sys; print('sitecustomize' in sys.modules)", "1/0"):
                        self.check_as_without(program)
                        self.check_as_without(program, shadowed)


def older_interpreters() -> Iterator[str]:
    """Yield those that run; pyenv also has shims for versions that do not."""
    names = ("python2.7", "python3.6", "python3.7", "python3.8")
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    candidates = [shutil.which(name) for name in names]
    candidates += sorted(glob.glob(os.path.join(root, "versions", "*", "bin", "python")))
    source = "import sys; sys.stdout.write(str(sys.version_info < (3, 9)))"
    for python in filter(None, candidates):
        done = subprocess.run([python, "-c", source], capture_output=True, check=False)
        if done.stdout == b"True":
            yield python


class Both(InstalledTest):
    def test_reports_once(self) -> None:
        env = {"PYTHONPATH": str(SITECUSTOMIZE)}
        self.check_reports(CRASHES, "thread", "exception", env=env)
        self.check_dump_once(env)

    def test_warns_once(self) -> None:
        env = {"PYTHONPATH": str(SITECUSTOMIZE)}
        result = self.run_with("print('out')", pydebug="crashfd=99", env=env)
        self.assertEqual(result.stderr.count(b"crashenv: PYDEBUG: "), 1, str(result))

    def test_one_of_the_two_copies_is_loaded(self) -> None:
        program = "import crashenv; print(crashenv.__path__, crashenv.__file__)"
        result = self.run_with(program, env={"PYTHONPATH": str(SITECUSTOMIZE)})
        expected = "%s %s" % ([str(self.package)], self.package / "__init__.py")
        self.assertEqual(result.stdout.decode().strip(), expected)

    def check_dump_once(self, env: dict[str, str]) -> None:
        result = self.run_both("import os; os.abort()", env=env)
        self.assertEqual(result.dump.count("Fatal Python error"), 1, str(result))

    def test_printed_folder_works_in_another_environment(self) -> None:
        check_printed_folder(self)


def check_printed_folder(test: EnvironmentTest) -> None:
    result = run(["-m", "crashenv", "path"])
    test.assertEqual((result.status, result.stderr), (0, b""), str(result))
    folder = result.stdout.decode().rstrip("\n")
    test.use(new_environment(test.folder / "other"))
    test.check_reports(CRASHES, "thread", "exception", env={"PYTHONPATH": folder})


class Weight(ProgramTest):
    """Weight of the copy that all tests use."""

    def modules(self, pydebug: str) -> set[str]:
        result = self.run_with(MODULES, pydebug=pydebug)
        return set(result.stdout.decode().split())

    def test_nothing_of_ours_is_loaded_while_it_is_off(self) -> None:
        for pydebug in ("", "x=1", "1,gctrace=1"):
            loaded = self.modules(pydebug)
            self.assertEqual([name for name in loaded if name.startswith(OURS)], [])
        self.assertIn("faulthandler", self.modules("crashfd={fd}"))

    def test_modules_that_activation_adds(self) -> None:
        before = self.modules("")
        log = str(self.folder / "crash.log")
        for pydebug in ("crashfd={fd}", "crashfile=" + log, "crashfd={fd},crashsignal=USR2"):
            added = {n for n in self.modules(pydebug) - before if not n.startswith(OURS)}
            added -= {"atexit"} if PYPY else set()  # in place of reference counting
            self.assertLessEqual(len(added), 1, added)
            self.assertIn("faulthandler", self.modules(pydebug))


class InstalledWeight(InstalledTest, Weight):
    """Weight with only the ``.pth`` line."""


if __name__ == "__main__":
    unittest.main()
