"""The examples of docs/listening.md do what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import unittest

from tests.driver import DEADLINE, ROOT, ProgramTest, Result, environment, importable, run
from tests.test_stream import report

PAGE = ROOT / "docs" / "listening.md"


def examples() -> dict[str, str]:
    """Return the first indented block below each heading."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        lines = text.split("\n    ", 1)
        if len(lines) == 2:
            block = re.split(r"\n\n(?=\S)", "    " + lines[1])[0]
            found[title] = textwrap.dedent(block)
    return found


class ExamplesTest(ProgramTest):
    def setUp(self) -> None:
        super().setUp()
        self.env = environment(PYTHONPATH=importable())

    def test_child_process(self) -> None:
        result = run(examples()["Python: a child process"], env=self.env)
        self.assertEqual(result.stdout, b"ZeroDivisionError: division by zero\n", str(result))

    def test_file(self) -> None:
        (self.folder / "crash.log").write_bytes(report())
        result = run(examples()["Python: a file"], env=self.env, cwd=self.folder)
        self.assertEqual((result.status, len(result.stdout.splitlines())), (0, 1), str(result))

    def run_elsewhere(self, *command: str) -> None:
        """Run a command that finds ``python`` and ``crashenv`` on PATH."""
        self.write("python", '#!/bin/sh\nexec "%s" "$@"\n' % sys.executable)
        self.write("crashenv", '#!/bin/sh\nexec "%s" -m crashenv "$@"\n' % sys.executable)
        for name in ("python", "crashenv"):
            os.chmod(self.folder / name, 0o755)
        env = environment(PATH="%s:%s" % (self.folder, os.environ["PATH"]), HOME=str(self.folder))
        paths = [env.get("PYTHONPATH", ""), importable()]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        done = subprocess.run(
            command, env=env, cwd=self.folder, capture_output=True, timeout=DEADLINE, check=False
        )
        text = str(Result([*command], done.returncode, done.stdout, done.stderr))
        self.assertIn(b'"summary":"ZeroDivisionError: division by zero"', done.stdout, text)

    def test_shell(self) -> None:
        self.run_elsewhere("/bin/sh", self.write("script", examples()["A shell"]))

    def test_node(self) -> None:
        if not shutil.which("node"):
            self.skipTest("node is not installed")
        self.run_elsewhere("node", self.write("listen.mjs", examples()["Node"]))

    def test_go(self) -> None:
        if not shutil.which("go"):
            self.skipTest("go is not installed")
        self.run_elsewhere("go", "run", self.write("listen.go", examples()["Go"]))


if __name__ == "__main__":
    unittest.main()
