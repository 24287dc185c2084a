"""A sample of what tests/faults.py tries: system calls of ours that fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from tests.driver import PYPY, ROOT, WatchedTest

SCRIPT = Path(__file__).with_name("faults.py")


@unittest.skipUnless(shutil.which("strace"), "needs strace(1)")
@unittest.skipIf(PYPY, "the calls of PyPy's start differ from run to run")
class Faults(WatchedTest):
    def test_nobody_notices(self) -> None:
        ours = {k: v for k, v in os.environ.items() if not k.startswith("PY")}
        env = {**ours, "PYTHONPATH": str(ROOT)}
        args = [sys.executable, str(SCRIPT), "--every", "149", "--jobs", "1"]
        done = subprocess.run(args, capture_output=True, text=True, check=False, env=env)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"\n\d+ faults injected, 0 differences\n$")
