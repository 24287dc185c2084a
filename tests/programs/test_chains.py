"""Programs that start the Python that crashes: by exec, through a shell, as a child."""

from __future__ import annotations

import os
import sys

from tests.driver import SITECUSTOMIZE
from tests.programs.program import RealProgramTest, RealResult, needs

CRASH = """
def main():
    raise ValueError('boom')
main()
"""
SEGFAULT = "import signal\ndef segfault():\n    signal.raise_signal(11)\nsegfault()\n"
# Like poetry run and pipenv run, with their own environment for the program.
EXEC = "import os, sys; os.execvpe(sys.argv[1], sys.argv[1:], {**os.environ, 'VIRTUAL_ENV': 'x'})"
CALL = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:], close_fds=%s))"


class Exec(RealProgramTest):
    def setUp(self) -> None:
        super().setUp()
        self.app = self.write("app.py", CRASH)
        self.segfault = self.write("segfault.py", SEGFAULT)

    def check_chain(self, *chain: str) -> None:
        """Check that the program that ``chain`` starts in the end reports."""
        result = self.run_real([*chain, sys.executable, self.app])
        self.check_kinds(result, "exception")
        self.assertEqual(result.reports[0].fields["program"], self.app)
        result = self.run_real([*chain, sys.executable, self.segfault])
        self.check_dump_of(result, "segfault")

    def test_exec(self) -> None:
        self.check_chain("-c", EXEC)

    def test_exec_of_a_shell_that_execs(self) -> None:
        self.check_chain("-c", EXEC, "sh", "-c", 'exec "$@"', "sh")

    def test_exec_of_a_shell_that_waits(self) -> None:
        result = self.run_real(
            ["-c", EXEC, "sh", "-c", '"$@"; echo $?', "sh", sys.executable, self.app]
        )
        self.assertEqual(result.stdout, b"1\n")
        self.check_kinds(result, "exception")

    def test_exec_through_env_twice(self) -> None:
        self.check_chain("-c", EXEC, "env", "A=B", sys.executable, "-c", EXEC)

    def test_env_that_clears_the_variable(self) -> None:
        result = self.run_real(["-c", EXEC, "env", "-u", "PYDEBUG", sys.executable, self.app])
        self.assertEqual(result.crash, b"", str(result))

    def test_child_that_gets_the_descriptor(self) -> None:
        result = self.run_real(["-c", CALL % False, sys.executable, self.app])
        self.check_kinds(result, "exception")

    def test_child_that_does_not(self) -> None:
        result = self.run_real(["-c", CALL % True, sys.executable, self.app])
        self.assertEqual(result.crash, b"", str(result))
        result = self.run_to_file(["-c", CALL % True, sys.executable, self.app])
        self.check_kinds(result, "exception")


@needs("tox")
class Tox(RealProgramTest):
    """It starts its commands with all descriptors but the standard ones closed."""

    CONFIG = """
        [tox]
        no_package = true
        [testenv]
        skip_install = true
        pass_env = PYDEBUG
        set_env = PYTHONPATH = {sitecustomize}
        commands = python app.py
        """

    def setUp(self) -> None:
        super().setUp()
        self.write("app.py", CRASH)
        self.write("tox.ini", self.CONFIG.format(sitecustomize=SITECUSTOMIZE))
        created = self.tox("run", "--notest", "--skip-pkg-install")
        self.assertEqual((created.status, created.crash), (0, b""), str(created))

    def tox(self, *arguments: str, to_file: bool = False) -> RealResult:
        run = self.run_to_file if to_file else self.run_real
        # Named, because a tox that runs the tests sets TOX_WORK_DIR.
        workdir = str(self.folder / ".tox")
        return run(
            ["-m", "tox", *arguments[:1], "--workdir", workdir, *arguments[1:]], cwd=self.folder
        )

    def test_descriptor_does_not_reach_the_commands(self) -> None:
        for arguments in (("run",), ("exec", "--", "python", "app.py")):
            with self.subTest(arguments):
                result = self.tox(*arguments)
                self.assertIn(b"ValueError: boom", result.stdout + result.stderr)
                self.assertEqual((result.status, result.crash), (1, b""), str(result))

    def test_file_does(self) -> None:
        for arguments in (("run",), ("exec", "--", "python", "app.py")):
            with self.subTest(arguments):
                result = self.tox(*arguments, to_file=True)
                self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))
                self.assertEqual(os.path.basename(result.reports[0].fields["program"]), "app.py")
