"""Run the tests of the dying side with crashenv switched off: a test that passes tests nothing.

In a copy of the checkout, the start and ``set_crash_output`` return at once.
A test that still passes there would not notice if crashenv did nothing. The exit status is 1
if one passes that is not in EXCUSED.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import unittest
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Modules that do not test a watched process: readers, the store, the monitor's own work,
# and doctor's trials, which have their own controls.
READING = """
    arrows corpus doctor driver family html list listening listening_docs logs ntstatus numbers
    on_crash page parse people redact run run_examples run_init run_survives run_terminal
    run_unwatched show sinks store stream texts tracebacks windows
"""
# Patterns of tests, and why they need no crash output.
EXCUSED = {
    "api.Names.test_stub_file_*": "compares two files",
    "collect.*": "the monitor's own work",
    "descendants.Descendants.test_another_pid_namespace": "nothing can be reported from there",
    "platforms.Commands.*": "about commands",
    "platforms.Masked.test_every_module_can_be_imported": "about imports",
    "run_reports.*": "the monitor's own work",
    "settings.Items.*": "parses a text",
    "settings.Values.*": "parses a text",
    "settings.Rewritten.test_threads_are_ignored_beside_a_bad_limit": "parses a text",
    "installation.Broken.*": "the package cannot be loaded there",
    "installation.Editable.test_package_is_the_checkouts": "looks at the package's path",
    "installation.Installed.test_package_is_the_installed_one": "looks at the package's path",
    "installation.Installed.test_script_*": "about the command's script",
    "installation.Installed.test_uninstalling_leaves_nothing_behind": "crashenv is gone there",
    "installation.Installed.test_what_the_wheel_holds": "looks at files",
    "installation.Both.test_one_of_the_two_copies_is_loaded": "looks at the package's path",
    "installation.Sitecustomize.*": "about a sitecustomize that is not ours",
    "sitecustomize.*": "about a sitecustomize that is not ours",
}


class Passing(unittest.TestResult):
    """Collects the names of the tests that pass."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: list[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed.append(test.id())


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="crashenv-inactive-") as folder:
        copy = Path(folder, "checkout")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        _switch_off(copy / "src" / "crashenv")
        sys.path[0] = str(copy)
        suite = unittest.TestSuite()
        for path in sorted((copy / "tests").glob("test_*.py")):
            if path.stem[len("test_") :] not in READING.split():
                suite.addTests(unittest.defaultTestLoader.loadTestsFromName("tests." + path.stem))
        result = Passing()
        suite.run(result)
        _kill_what_is_left(folder)
    wrong = [
        name
        for name in result.passed
        if not any(fnmatchcase(name, "tests.test_" + pattern) for pattern in EXCUSED)
    ]
    print(*wrong, sep="\n")
    print(
        "%d of %d pass, %d of them without an excuse"
        % (len(result.passed), result.testsRun, len(wrong))
    )
    return int(bool(wrong))


def _kill_what_is_left(folder: str) -> None:
    """Kill programs that go on because nobody reads their output; PYTHONPATH has the copy."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if folder.encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
        except OSError:  # another user's; it has ended
            pass


def _switch_off(package: Path) -> None:
    for name, function in (("__init__.py", "_start"), ("_api.py", "set_crash_output")):
        path = package / name
        path.write_text(path.read_text() + "\n\ndef %s(*args, **options):\n    pass\n" % function)


if __name__ == "__main__":
    sys.exit(main())
