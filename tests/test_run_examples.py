"""The examples for ``crashenv run`` in the README and docs/monitor.md, as far as possible."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

from tests.driver import DEADLINE, ROOT, SITECUSTOMIZE, MonitorTest, Result, needs_monitor

README = (ROOT / "README.md").read_text()
MANUAL = (ROOT / "docs" / "monitor.md").read_text()
APP = "raise ValueError('boom')\n"


def blocks(language: str) -> list[str]:
    """Return the manual's code blocks in ``language``."""
    return re.findall(r"^```%s\n(.*?)^```$" % language, MANUAL, re.M | re.S)


class ExampleTest(MonitorTest):
    def setUp(self) -> None:
        super().setUp()
        self.app = self.write("app/app.py", APP)
        self.crash = self.folder / "var" / "crash"
        # As in the image: python and crashenv are found on PATH.
        script = "#!%s\nimport sys\nfrom crashenv.__main__ import main\nsys.exit(main())\n"
        commands = self.folder / "bin"
        self.write("bin/crashenv", script % sys.executable)
        os.chmod(commands / "crashenv", 0o755)
        os.symlink(sys.executable, commands / "python")
        self.env["PATH"] = "%s:%s" % (commands, os.environ["PATH"])

    def placed(self, text: str) -> str:
        """Replace an image's paths by those of this test."""
        for path, here in (
            ("/app/app.py", self.app),
            ("/var/crash", str(self.crash)),
            ("/var/lib/app/crash", str(self.crash)),
            ("/dev/termination-log", str(self.folder / "termination-log")),
            ("/usr/local/bin/crashenv", str(self.folder / "bin" / "crashenv")),
            ("/usr/bin/python3", str(self.folder / "bin" / "python")),
        ):
            text = re.sub(r"(?<![\w/])" + path, here, text)
        return text

    def run_words(self, words: list[str], **options: Any) -> Result:
        options.setdefault("env", self.env)
        args = [self.placed(word) for word in words]
        done = subprocess.run(args, capture_output=True, timeout=DEADLINE, **options)
        return Result(args, done.returncode, done.stdout, done.stderr)

    def check_stored(self, result: Result, folder: Path, status: int = 1) -> None:
        self.assertEqual(result.status, status, str(result))
        (path,) = folder.glob("*.json")
        self.assertEqual(json.loads(path.read_text())["summary"], "ValueError: boom")


class ShellTest(ExampleTest):
    @needs_monitor
    def test_command(self) -> None:
        (script,) = blocks("sh")
        result = self.run_words(["sh", "-c", script], cwd=self.folder / "app")
        self.check_stored(result, self.store)
        self.assertRegex(
            result.stderr.decode().splitlines()[-1],
            r"\Acrashenv: ValueError: boom \(main thread, app.py:1 in <module>\);"
            r" crashenv show [0-9a-f]{8}\Z",
        )

    def test_readme_has_the_same_command_and_line(self) -> None:
        (script,) = blocks("sh")
        self.assertIn(script, README)
        line = r"\n    crashenv: ValueError: boom \(main thread, .*\); crashenv show \w{8}\n"
        for page in (README, MANUAL):
            self.assertRegex(page, line)

    def test_options_are_those_of_the_help(self) -> None:
        help = self.run_words(["crashenv", "run", "--help"]).stdout.decode()
        text = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", help, re.M))
        table = MANUAL[MANUAL.index("| option | |") :]
        named = set(re.findall(r"`(?:-q`, `)?(--[a-z-]+)", table[: table.index("\n\n")]))
        self.assertEqual(named, text - {"--help"})


class DockerfileTest(ExampleTest):
    def words(self) -> list[str]:
        (text,) = blocks("dockerfile")
        arrays = dict(re.findall(r"^(ENTRYPOINT|CMD) (\[.*\])$", text, re.M))
        return [*json.loads(arrays["ENTRYPOINT"]), *json.loads(arrays["CMD"])]

    @needs_monitor
    def test_entrypoint(self) -> None:
        self.check_stored(self.run_words(self.words()), self.crash)

    @needs_monitor
    def test_entrypoint_as_process_1(self) -> None:
        unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
        if subprocess.run([*unshare, "true"], capture_output=True).returncode:
            self.skipTest("needs unshare(1) and the right to make a PID namespace")
        self.check_stored(self.run_words(unshare + self.words()), self.crash)


class KubernetesTest(ExampleTest):
    def pod(self) -> Any:
        """Parse it with kubectl, or at least a YAML parser."""
        (text,) = blocks("yaml")
        path = self.write("pod.yaml", text)
        if shutil.which("kubectl"):
            # --local decodes it into the API's types without a server.
            command = ["kubectl", "label", "--local", "-f", path, "a=b", "-o", "json"]
            result = self.run_words(command)
            if result.status == 0:
                return json.loads(result.stdout)
        try:
            import yaml  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            self.skipTest("neither kubectl nor PyYAML is here")
        return yaml.safe_load(text)

    def run_container(self, name: str, app: str = APP) -> tuple[Result, str]:
        """Run a container's command; return the result and the termination message."""
        Path(self.app).write_text(app)
        log = self.folder / "termination-log"
        log.touch()
        (container,) = (c for c in self.pod()["spec"]["containers"] if c["name"] == name)
        variables = {v["name"]: self.placed(v["value"]) for v in container.get("env", [])}
        if name == "alone":  # the image has it installed
            variables["PYTHONPATH"] = str(SITECUSTOMIZE)
        words = container["command"] + container.get("args", [])
        result = self.run_words(words, env={**self.env, **variables})
        return result, log.read_text()

    def test_without_a_monitor(self) -> None:
        result, message = self.run_container("alone", "raise ValueError('boom' * 9999)\n")
        self.assertEqual(result.status, 1, str(result))
        self.assertTrue(message.startswith("crashenv: report kind=exception "), message)
        self.assertLessEqual(len(message), 4096)

    @needs_monitor
    def test_with_a_monitor(self) -> None:
        result, message = self.run_container("monitored")
        self.check_stored(result, self.crash)
        self.assertEqual(json.loads(message)["summary"], "ValueError: boom")
        result, message = self.run_container("monitored", "import os; os.kill(os.getpid(), 9)\n")
        self.assertEqual(result.status, -signal.SIGKILL, str(result))
        self.assertEqual(json.loads(message)["summary"], "killed by SIGKILL")


class SystemdTest(ExampleTest):
    def units(self) -> list[configparser.SectionProxy]:
        found = []
        for text in blocks("ini"):
            parser = configparser.ConfigParser(interpolation=None)
            parser.optionxform = str  # type: ignore[assignment,method-assign]
            parser.read_string(text)
            found.append(parser["Service"])
        return found

    def test_units_are_understood(self) -> None:
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd is not installed")
        for number, text in enumerate(blocks("ini")):
            path = self.write("unit%d.service" % number, self.placed(text))
            result = self.run_words(["systemd-analyze", "verify", path])
            message = result.stderr.decode().splitlines()
            # systemd before 253
            self.assertEqual([line for line in message if "'OpenFile'" not in line], [])

    def test_open_file(self) -> None:
        """As systemd starts it: sd_listen_fds(3)."""
        unit = self.units()[0]
        path, name, mode = unit["OpenFile"].split(":")
        self.assertEqual(mode, "append")
        log = self.folder / os.path.basename(path)
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        variable, _, value = unit["Environment"].partition("=")
        env = {
            **self.env,
            variable: value,
            "PYTHONPATH": str(SITECUSTOMIZE),  # in case it is not installed
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": name,
        }
        script = 'export LISTEN_PID=$$; exec "$@" 3>&%d' % fd
        words = ["bash", "-c", script, "bash", *shlex.split(unit["ExecStart"])]
        result = self.run_words(words, env=env, pass_fds=[fd])
        os.close(fd)
        self.assertEqual(result.status, 1, str(result))
        self.assertTrue(log.read_text().startswith("crashenv: report kind=exception "))

    @needs_monitor
    def test_monitor(self) -> None:
        unit = self.units()[1]
        result = self.run_words(shlex.split(unit["ExecStart"]))
        self.check_stored(result, self.crash)


if __name__ == "__main__":
    unittest.main()
