"""Crashes in the log of an rsyslogd that the test starts: by its socket, UDP and TCP."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import unittest
from typing import Any

from tests.driver import DEADLINE, CommandTest, wait_until

_CONF = """
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{folder}/log" CreatePath="off")
module(load="imudp")
input(type="imudp" address="127.0.0.1" port="{port}")
module(load="imtcp" MaxSessions="20")
input(type="imtcp" address="127.0.0.1" port="{port}")
template(name="json" type="list" option.jsonf="on") {{
  property(outname="program" name="programname" format="jsonf")
  property(outname="pid" name="procid" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
action(type="omfile" file="{folder}/out.log" template="json")
"""


@unittest.skipUnless(shutil.which("rsyslogd"), "not installed: rsyslog")
class Log(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        conf = self.write("rsyslog.conf", _CONF.format(folder=self.folder, port=self.port))
        command = ["rsyslogd", "-n", "-f", conf, "-i", str(self.folder / "pid")]
        quiet = subprocess.DEVNULL
        self.daemon = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        self.addCleanup(self.daemon.wait, DEADLINE)
        self.addCleanup(self.daemon.terminate)
        wait_until(self.is_ready, "rsyslogd")

    def is_ready(self) -> bool:
        with socket.socket() as probe:
            is_open = probe.connect_ex(("127.0.0.1", self.port)) == 0
        return is_open and os.path.exists(self.folder / "log")

    def lines(self) -> list[Any]:
        path = self.folder / "out.log"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines() if "app.py" in line]

    def line(self, number: int) -> Any:
        wait_until(lambda: len(self.lines()) > number, "the line")
        return self.lines()[number]

    def test_each_way(self) -> None:
        script = self.write("app.py", "def load():\n    raise ValueError('boom')\nload()")
        sinks = (
            "syslog:%s/log" % self.folder,
            "syslog://127.0.0.1:%d" % self.port,
            "syslog+tcp://127.0.0.1:%d" % self.port,
        )
        for number, sink in enumerate(sinks):
            with self.subTest(sink):
                self.run_monitored([sys.executable, script], "--sink", sink)
                line, record = self.line(number), self.records()[-1]
                self.assertEqual((line["program"], line["pid"]), ("app.py", str(record["pid"])))
                self.assertEqual((line["severity"], line["facility"]), ("crit", "user"))
                self.assertIn("ValueError: boom (app.py:2 in load)", line["message"])
                self.assertIn("#012    raise ValueError", line["message"])
                if number:
                    self.assertIn('id="%s"' % record["id"], line["data"])
        self.assertEqual(len(self.lines()), 3)


if __name__ == "__main__":
    unittest.main()
