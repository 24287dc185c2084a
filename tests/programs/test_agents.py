"""Agents that start before user code, as crashenv does: both work, whichever is first."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import unittest
import venv
from pathlib import Path
from unittest import mock

from tests.driver import INSTALLED, SITECUSTOMIZE, MonitorTest, Result, run
from tests.programs.program import SEGFAULT, THREAD, RealProgramTest, RealResult, needs

# ddtrace removes _thread and time, which every start has, and we load them again.
CRASH = """
import os, sys
print([entry for entry in sys.path if entry != os.environ.get('HIDDEN')])
module = sys.modules.get('sitecustomize')
print(module, getattr(module, '__spec__', None) and module.__spec__.origin)
print([name for name in vars(module or sys) if name.startswith('_crashenv')])
ours = {'crashenv', 'faulthandler', 'errno', '_thread', 'time'}
print(sorted(name for name in sys.modules if name.partition('.')[0] not in ours))
raise ValueError('boom')
"""
SCRIPTS = Path(sysconfig.get_path("scripts"))
PYTHON = sys.executable
OURS = str(SITECUSTOMIZE)


@functools.cache
def bare_python() -> str:
    """Return an interpreter that can import everything installed here, but activates nothing."""
    folder = tempfile.mkdtemp()
    unittest.addModuleCleanup(shutil.rmtree, folder)
    unittest.addModuleCleanup(bare_python.cache_clear)
    venv.EnvBuilder(symlinks=True).create(folder)
    python = os.path.join(folder, "bin", "python")
    # A folder that a .pth file adds is not a site directory: its .pth files are not read.
    packages = Path(purelib(python), "packages.pth")
    packages.write_text(sysconfig.get_path("purelib") + "\n")
    return python


def purelib(python: str) -> str:
    source = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.check_output([python, "-I", "-c", source], text=True).strip()


def folder_of(package: str) -> str:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    return os.path.dirname(spec.origin)


class AgentTest(RealProgramTest):
    """Each program runs without crashenv, with crashenv installed, and with PYDEBUG set."""

    agent: dict[str, str] = {}  # what the agent's environment needs

    def setUp(self) -> None:
        super().setUp()
        self.use(bare_python())
        self.crash = self.write("app/crash.py", CRASH)
        self.thread = self.write("app/in_thread.py", THREAD)
        self.segfault = self.write("app/segfault.py", SEGFAULT)

    def use(self, python: str) -> None:
        self.python = python
        patch = mock.patch.object(sys, "executable", python)
        patch.start()
        self.addCleanup(patch.stop)

    def script(self, name: str, *arguments: str) -> list[str]:
        """Return a console script of the agent, which runs the interpreter."""
        return [str(SCRIPTS / name), *arguments, self.python]

    def check_same(self, *command: str, behind: str = "", before: str = "") -> RealResult:
        """Check for the same ending; return the run with PYDEBUG set."""
        results = []
        for path, pydebug in (("", ""), (OURS, ""), (OURS, "crashfd={fd}")):
            last = str(self.folder / "nothing")  # an empty one has another meaning
            paths = os.pathsep.join(filter(None, [before, path, behind, last]))
            env = {**self.agent, "PYTHONPATH": paths}
            result = self.run_with(command, pydebug=pydebug, env=env, cwd=self.folder)
            results.append(RealResult(**vars(result), ordered=False))
        without, unset, result = results
        self.assertEqual(without.ending(), unset.ending(), "\n%s\n\n%s" % (without, unset))
        self.assertEqual(without.ending(), result.ending(), "\n%s\n\n%s" % (without, result))
        self.assertEqual(unset.crash, b"")
        return result

    def check_all(self, *launcher: str, behind: str = "", before: str = "") -> None:
        """Check that an exception, one of a thread, and a native crash are each reported once."""
        others = {"behind": behind, "before": before}
        result = self.check_same(*launcher, self.crash, **others)
        self.assertEqual([r.kind for r in result.reports], ["exception"], str(result))
        self.assertIn(b"ValueError: boom", result.stderr)
        result = self.check_same(*launcher, self.thread, **others)
        self.assertEqual([r.kind for r in result.reports], ["thread"], str(result))
        result = self.check_same(*launcher, self.segfault, **others)
        self.check_dump_of(result, "segfault")


@needs("newrelic")
class NewRelic(AgentTest):
    def setUp(self) -> None:
        super().setUp()
        settings = "[newrelic]\napp_name = test\nmonitor_mode = false\ndeveloper_mode = true\n"
        path = self.write("newrelic.ini", settings)
        self.agent = {"NEW_RELIC_CONFIG_FILE": path}

    def test_run_program(self) -> None:
        self.check_all(*self.script("newrelic-admin", "run-program"))

    def test_run_program_with_another_behind(self) -> None:
        other = os.path.dirname(self.write("other/sitecustomize.py", "print('other')"))
        self.check_all(*self.script("newrelic-admin", "run-program"), behind=other)

    def test_its_folder_behind(self) -> None:
        self.check_all(behind=folder_of("newrelic") + "/bootstrap")


@needs("opentelemetry.distro", "opentelemetry.instrumentation")
class OpenTelemetry(AgentTest):
    agent = dict.fromkeys(
        ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none"
    )

    def test_instrument_hides_the_folder(self) -> None:
        # Its own sitecustomize runs no other; an installed crashenv reports.
        self.agent = {**self.agent, "HIDDEN": OURS}
        for program in (self.crash, self.thread, self.segfault):
            result = self.check_same(*self.script("opentelemetry-instrument"), program)
            self.assertEqual(result.crash, b"", str(result))

    @unittest.skipUnless(INSTALLED, "crashenv is not installed")
    def test_instrument_beside_an_installation(self) -> None:
        self.use(PYTHON)
        self.agent = {**self.agent, "HIDDEN": OURS}
        self.check_all(*self.script("opentelemetry-instrument"))

    def test_operator_and_us_first(self) -> None:
        self.check_all(behind=folder_of("opentelemetry.instrumentation.auto_instrumentation"))


@needs("ddtrace")
class Datadog(AgentTest):
    agent = {
        "DD_TRACE_ENABLED": "false",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_CRASHTRACKING_ENABLED": "false",
    }

    def test_run(self) -> None:
        self.check_all(*self.script("ddtrace-run"))

    def test_its_folder_behind(self) -> None:
        self.check_all(behind=folder_of("ddtrace") + "/bootstrap")


@needs("coverage")
class Coverage(AgentTest):
    PARENT = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"

    def setUp(self) -> None:
        super().setUp()
        source = "[run]\nsource = %s\nparallel = true\n" % self.folder
        self.settings = self.write("coverage.ini", source)
        self.write("patch.ini", source + "patch = subprocess\n")
        self.parent = self.write("app/parent.py", self.PARENT)
        self.site = os.path.dirname(
            self.write("site/sitecustomize.py", "import coverage; coverage.process_startup()")
        )

    def measured(self) -> list[str]:
        """Return the files of all runs so far, and remove the data."""
        run(["-m", "coverage", "combine", "-q"], cwd=self.folder)
        done = run(["-m", "coverage", "report"], cwd=self.folder)
        self.assertEqual(done.status, 0, str(done))
        (self.folder / ".coverage").unlink()
        names = [line.split()[0] for line in done.stdout.decode().splitlines()]
        return [name for name in names if name.endswith(".py") and "sitecustomize" not in name]

    def test_subprocess_start(self) -> None:
        self.agent = {"COVERAGE_PROCESS_START": self.settings}
        for others in ({"behind": self.site}, {"before": self.site}):
            if "before" in others:
                self.agent = {**self.agent, "HIDDEN": OURS}
            with self.subTest(**others):
                for program in (self.crash, self.thread):
                    result = self.check_same(program, **others)
                    # Before that, it runs no other, like opentelemetry-instrument.
                    expected = 1 if "behind" in others else 0
                    self.assertEqual(len(result.reports), expected, str(result))
                    name = os.path.relpath(program, self.folder)
                    self.assertEqual(self.measured(), [name])

    def test_patch_of_subprocess(self) -> None:
        command = ["-m", "coverage", "run", "--rcfile", "patch.ini", self.parent]
        for program in (self.crash, self.thread):
            result = self.check_same(*command, program)
            # The child has no crash output: subprocess closes descriptors.
            self.assertEqual(result.crash, b"", str(result))
            self.assertEqual(self.measured(), ["app/parent.py"])


HOOK = """
import os, sys
def apport_excepthook(exc_type, exc_obj, exc_tb):
    try:
        with open(os.environ['APPORT_REPORT'], 'a') as file:
            file.write('ExecutablePath: %s\\n%s\\n' % (sys.argv[0], exc_type.__name__))
    finally:
        sys.__excepthook__(exc_type, exc_obj, exc_tb)
def install():
    sys.excepthook = apport_excepthook
"""
# As in Debian's and Ubuntu's libpython3-stdlib.
UBUNTU = """
# install the apport exception handler if available
try:
    import apport_python_hook
except ImportError:
    pass
else:
    apport_python_hook.install()
"""


class Apport(AgentTest):
    """Ubuntu's sitecustomize, which is in the standard library's folder."""

    def test_hook(self) -> None:
        report = self.folder / "report"
        self.agent = {"APPORT_REPORT": str(report)}
        for name, source in (("sitecustomize", UBUNTU), ("apport_python_hook", HOOK)):
            path = self.write("ubuntu/%s.py" % name, source)
        self.check_all(behind=os.path.dirname(path))
        self.assertEqual(report.read_text().count("ValueError"), 3)

    def test_without_apport(self) -> None:
        self.check_all(behind=os.path.dirname(self.write("u/sitecustomize.py", UBUNTU)))


@needs("virtualenv")
class Virtualenv(AgentTest):
    def test_environment(self) -> None:
        folder = self.folder / "made"
        made = run(["-m", "virtualenv", "--no-seed", "--no-download", "-q", str(folder)])
        self.assertEqual(made.status, 0, str(made))
        self.use(str(folder / "bin" / "python"))
        self.check_all()

    def test_environment_that_it_is_installed_in(self) -> None:
        folder = self.folder / "made"
        run(["-m", "virtualenv", "--no-seed", "--no-download", "-q", str(folder)])
        self.use(str(folder / "bin" / "python"))
        source = SITECUSTOMIZE / "crashenv_startup.pth"
        shutil.copy(source, purelib(self.python))
        Path(purelib(self.python), "_crashenv.pth").write_text(str(SITECUSTOMIZE.parent / "src"))
        result = self.run_real([self.crash])
        self.check_kinds(result, "exception")


class Monitored(MonitorTest):
    """Below ``crashenv run``."""

    def needs(self, package: str) -> None:
        if importlib.util.find_spec(package) is None:
            self.skipTest("not installed: " + package)

    def run_crash(self, agent: type[AgentTest], *launcher: str) -> Result:
        program = [bare_python(), str(SCRIPTS / launcher[0]), *launcher[1:], bare_python()]
        program.append(self.write("crash.py", "import time\ntime.sleep(0.3)\n1/0"))
        return self.run_monitored(program, env={**self.env, **agent.agent})

    def check_kept(self, agent: type[AgentTest], *launcher: str) -> None:
        result = self.run_crash(agent, *launcher)
        self.assertEqual(result.status, 1, str(result))
        self.check_record("exception", result)

    def test_datadog(self) -> None:
        self.needs("ddtrace")
        self.check_kept(Datadog, "ddtrace-run")

    def test_new_relic(self) -> None:
        self.needs("newrelic")
        self.check_kept(NewRelic, "newrelic-admin", "run-program")

    def test_open_telemetry_is_said_to_hide_it(self) -> None:
        self.needs("opentelemetry")
        result = self.run_crash(OpenTelemetry, "opentelemetry-instrument")
        self.assertEqual((result.status, self.records()), (1, []), str(result))
        self.assertIn(b"auto_instrumentation/sitecustomize.py hides crashenv's", result.stderr)


if __name__ == "__main__":
    unittest.main()
