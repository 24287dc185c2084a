"""The examples of docs/listening.md do what the page says."""

from __future__ import annotations

import os
import sys
import textwrap
import unittest

from tests.driver import ROOT, ProgramTest, environment, importable, run
from tests.test_stream import report

PAGE = ROOT / "docs" / "listening.md"


def examples() -> dict[str, str]:
    """The first indented block below each heading."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        lines = text.split("\n    ", 1)
        if len(lines) == 2:
            block = ("    " + lines[1]).split("\n\n`")[0].split("\n\nWith")[0]
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

    def test_shell(self) -> None:
        self.write("python", '#!/bin/sh\nexec "%s" "$@"\n' % sys.executable)
        self.write("crashenv", '#!/bin/sh\nexec "%s" -m crashenv "$@"\n' % sys.executable)
        for name in ("python", "crashenv"):
            os.chmod(self.folder / name, 0o755)
        env = environment(PATH="%s:%s" % (self.folder, os.environ["PATH"]))
        paths = [env.get("PYTHONPATH", ""), importable()]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        script = self.write("script", examples()["A shell"])
        result = run(
            ["-c", "import os, sys; os.execv('/bin/sh', ['sh', sys.argv[1]])", script],
            env=env,
            cwd=self.folder,
        )
        self.assertIn(b'"summary":"ZeroDivisionError: division by zero"', result.stdout)


if __name__ == "__main__":
    unittest.main()
