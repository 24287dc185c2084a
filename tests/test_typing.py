"""What mypy --strict says of a user's program."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import unittest

from tests.driver import DEADLINE, ROOT, ProgramTest

RIGHT = """
import os
import crashenv

crashenv.set_crash_output(open("crash.log", "a"), threads="fatal", limit=1 << 20)
crashenv.set_crash_output(3)
crashenv.set_crash_output(None)
crashenv.activate()
crashenv.note("order 7")
pid = crashenv.start_monitor(store="crashes", on_crash=["notify", "team"])
if pid is not None:
    os.kill(pid, 0)
with crashenv.Pipe() as pipe:
    number: int = pipe.fd
    env: dict[str, str] = pipe.env()
    for record in pipe:
        summary: str = record["summary"]
for record in crashenv.read("crash.log", follow=True):
    ending = record.get("ending")
    if ending is not None and ending["signal"] == "SIGKILL":
        print(record["command"], record.get("last_words", ""))
reader = crashenv.Reader()
print(len(reader.feed(b"") + reader.flush() + reader.close()))
handler = crashenv.LogHandler()
handler.setLevel("INFO")
"""
WRONG = (
    'crashenv.set_crash_output("x")',
    "crashenv.set_crash_output(open('x', 'a'), limits=1)",
    "crashenv.note(b'x')",
    "crashenv.read(1)",
    "crashenv.start_monitor(store=1)",
    "crashenv.nothing",
    "next(iter(crashenv.Pipe()))['nothing']",
)


@unittest.skipIf(importlib.util.find_spec("mypy") is None, "not installed: mypy")
class Typing(ProgramTest):
    def check(self, source: str) -> str:
        path = self.write("program.py", source)
        cache = str(self.folder / "cache")
        args = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, path]
        env = {**os.environ, "MYPYPATH": str(ROOT / "src")}
        done = subprocess.run(
            args, env=env, cwd=self.folder, capture_output=True, timeout=DEADLINE, check=False
        )
        return done.stdout.decode()

    def test_right_program(self) -> None:
        self.assertIn("Success: no issues", self.check(RIGHT))

    def test_wrong_lines(self) -> None:
        told = self.check("import crashenv\n" + "\n".join(WRONG))
        for number, line in enumerate(WRONG, 2):
            self.assertIn("program.py:%d: error: " % number, told, line)


if __name__ == "__main__":
    unittest.main()
