"""Run CPython's own tests with and without PYDEBUG, and list the differences.

    python tests/cpython_suites.py [SUITE...]

The interpreter that runs this runs its ``test`` package, if it has one. A test
whose result differs is run twice more, alone, both ways: if it also varies
without PYDEBUG, it proves nothing. The exit status is 1 if any difference remains.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.driver import CrashOutput, environment

SUITES = (
    "test_sys test_threading test_thread test_faulthandler test_subprocess test_os test_signal"
    " test_site test_cmd_line test_cmd_line_script test_traceback test_atexit test_exceptions"
    " test_multiprocessing_fork test_fork1 test_posix test_runpy test_sys_settrace"
    " test_threadsignals"
)
LIMIT = 1200  # seconds that one suite may take
Results = dict[str, str]


def run(names: Sequence[str], *, on: bool, only: str = "") -> tuple[Results, int]:
    """Return the outcome of each test, and how many bytes the crash output got."""
    crash = CrashOutput("file")
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.xml")
        args = [sys.executable, "-m", "test", "--junit-xml", str(results)]
        if only:
            args += ["--match", only]
        env = environment(**({"PYDEBUG": "crashfd=%d" % crash.passed} if on else {}))
        subprocess.run(
            [*args, *names],
            env=env,
            cwd=folder,
            pass_fds=[crash.passed],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LIMIT,
            check=False,
        )
        root = ElementTree.parse(results).getroot()
        return dict(map(outcome, root.iter("testcase"))), len(crash.finish())


def outcome(case: ElementTree.Element) -> tuple[str, str]:
    for kind in ("failure", "error", "skipped"):
        if case.find(kind) is not None:
            return case.get("name", ""), kind
    return case.get("name", ""), "ok"


def listed() -> list[str]:
    args = [sys.executable, "-m", "test", "--list-tests"]
    return subprocess.run(args, capture_output=True, text=True, check=True).stdout.split()


def differences(names: Sequence[str], off: Results, on: Results) -> list[str]:
    found = []
    for name in sorted(off.keys() | on.keys()):
        if off.get(name) == on.get(name):
            continue
        again = [
            run(names, on=True, only=name)[0].get(name),
            run(names, on=False, only=name)[0].get(name),
        ]
        if again[0] != again[1]:
            found.append("%s: %s without, %s with PYDEBUG" % (name, off.get(name), on.get(name)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=SUITES)
    options = parser.parse_args()
    if importlib.util.find_spec("test.libregrtest") is None:
        parser.error("this interpreter has no test package")
    shipped = listed()
    total = 0
    found: list[str] = []
    for suite in options.suites or SUITES.split():
        names = [n for n in shipped if n.startswith(suite + ".") or n.split(".")[-1] == suite]
        names += [n for n in shipped if n.startswith("test." + suite + ".")]
        if not names:
            print("%s: not shipped" % suite)
            continue
        off, _ = run(names, on=False)
        on, size = run(names, on=True)
        differ = differences(names, off, on)
        total += len(off)
        found += differ
        numbers = (suite, len(off), list(off.values()).count("ok"), len(differ), size)
        print("%s: %d tests, %d ok without PYDEBUG, %d differ; crash output %d bytes" % numbers)
        sys.stdout.flush()
    for line in found:
        print(line)
    print("%d tests, %d differ" % (total, len(found)))
    return 1 if found or not total else 0


if __name__ == "__main__":
    sys.exit(main())
