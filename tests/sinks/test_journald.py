"""Crashes in the journal of a systemd-journald that the test starts, found by journalctl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import unittest
from pathlib import Path
from typing import Any

from tests.driver import DEADLINE, CommandTest, wait_until

if (Path(__file__).parents[2] / "src").is_dir():
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
from crashenv._sinks.journald import MESSAGE_ID

_DAEMON = "/usr/lib/systemd/systemd-journald"
# In a mount namespace with its own /run, whose files are accessible through /proc.
_START = "mount -t tmpfs tmpfs /run && mkdir -p /run/log/journal && exec " + _DAEMON


def missing() -> str:
    if not os.path.exists(_DAEMON) or not shutil.which("journalctl"):
        return "not installed: systemd"
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        return "needs CAP_SYS_ADMIN for a mount namespace"
    return ""


@unittest.skipIf(missing(), missing())
class Journal(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        quiet = subprocess.DEVNULL
        command = ["unshare", "-m", "--propagation=private", "sh", "-c", _START]
        self.daemon = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        self.addCleanup(self.daemon.wait, DEADLINE)
        self.addCleanup(self.daemon.terminate)
        self.run_folder = Path("/proc/%d/root/run" % self.daemon.pid)
        self.socket = self.run_folder / "systemd/journal/socket"
        own = os.stat("/run").st_dev
        wait_until(
            lambda: os.stat(self.run_folder).st_dev != own and self.socket.exists(), "journald"
        )

    def entries(self, *matches: str, at_least: int = 1) -> list[Any]:
        command = ["journalctl", "-D", str(self.run_folder / "log/journal"), "-o", "json", "-a"]
        deadline = time.monotonic() + DEADLINE
        while True:
            done = subprocess.run([*command, *matches], capture_output=True, timeout=DEADLINE)
            found = [json.loads(line) for line in done.stdout.splitlines()]
            if len(found) >= at_least or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def crash(self, source: str) -> Any:
        script = self.write("app.py", source)
        sink = "journald:%s" % self.socket
        self.run_monitored([sys.executable, script], "--sink", sink)
        return self.records()[-1]

    def test_exception(self) -> None:
        record = self.crash("def load():\n    raise ValueError('boom\\nand more')\nload()")
        (entry,) = self.entries("MESSAGE_ID=" + MESSAGE_ID)
        self.assertEqual(entry["MESSAGE"], "app.py: ValueError: boom (app.py:2 in load)")
        self.assertEqual(entry["EXCEPTION_TEXT"], record["text"])
        self.assertEqual(entry["COREDUMP_PID"], str(record["pid"]))
        for match in (
            "CODE_FUNC=load",
            "CODE_FILE=%s" % (self.folder / "app.py"),
            "SYSLOG_IDENTIFIER=app.py",
            "PRIORITY=2",
            "CRASHENV_ID=" + record["id"],
        ):
            self.assertEqual(len(self.entries(match)), 1, match)

    def test_signal(self) -> None:
        self.crash("import os; os.abort()")
        (entry,) = self.entries("COREDUMP_SIGNAL_NAME=SIGABRT")
        self.assertEqual(entry["COREDUMP_SIGNAL"], "6")

    def test_large_one_comes_as_a_memfd(self) -> None:
        self.crash("raise ValueError('x' * 600_000)")
        (entry,) = self.entries("MESSAGE_ID=" + MESSAGE_ID)
        self.assertGreater(len(entry["EXCEPTION_TEXT"]), 600_000)

    def test_its_syslog_socket(self) -> None:
        script = self.write("app.py", "1/0")
        sink = "syslog:%s" % (self.run_folder / "systemd/journal/dev-log")
        self.run_monitored([sys.executable, script], "--sink", sink)
        (entry,) = self.entries("SYSLOG_IDENTIFIER=app.py")
        self.assertEqual(entry["SYSLOG_PID"], str(self.records()[0]["pid"]))
        self.assertEqual((entry["PRIORITY"], entry["SYSLOG_FACILITY"]), ("2", "1"))
        self.assertTrue(entry["MESSAGE"].startswith("ZeroDivisionError: division by zero"))


if __name__ == "__main__":
    unittest.main()
