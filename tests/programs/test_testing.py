"""Test runners: pytest, with and without workers, and Django's."""

from __future__ import annotations

from tests.programs.program import RealProgramTest, RealResult, needs

FAILING = """
import pytest, sys

def test_fails():
    assert 1 == 2

def test_raises():
    1/0

def test_warns():
    pytest.fail('no')

@pytest.fixture
def broken():
    raise KeyError('in fixture')

def test_fixture(broken):
    pass
"""
THREAD = """
import threading

def boom():
    raise ValueError('in thread')

def test_thread():
    thread = threading.Thread(target=boom, name='background')
    thread.start()
    thread.join()
"""
SEGFAULT = """
import signal

def test_good():
    pass

def test_segfault():
    signal.raise_signal(signal.SIGSEGV)
"""


@needs("pytest")
class Pytest(RealProgramTest):
    PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "--color=no")

    def pytest(self, source: str, *options: str) -> RealResult:
        self.write("test_it.py", source)
        return self.run_real([*self.PYTEST, *options, "test_it.py"], cwd=self.folder)

    def test_failing_tests_are_no_crashes(self) -> None:
        result = self.pytest(FAILING)
        self.assertIn(b"3 failed, 1 error", result.stdout)
        self.assertEqual((result.status, result.crash), (1, b""), str(result))

    def test_error_at_collection_is_no_crash(self) -> None:
        for source in ("import nothing_here\n", "def f(:\n"):
            with self.subTest(source):
                result = self.pytest(source)
                self.assertEqual((result.status, result.crash), (2, b""), str(result))

    def test_thread_in_a_test(self) -> None:
        # pytest does not print it to stderr, but turns it into a warning.
        result = self.pytest(THREAD)
        self.assertIn(b"PytestUnhandledThreadExceptionWarning", result.stdout)
        (report,) = result.reports
        self.assertEqual((report.kind, report.fields["thread"]), ("thread", "background"))
        self.assertTrue(report.body.endswith("\nValueError: in thread\n"), report.body)

    def test_killed_by_a_signal(self) -> None:
        # pytest itself points faulthandler at stderr, and the program's file has priority.
        result = self.pytest(SEGFAULT)
        self.assertEqual(result.status, -11, str(result))
        self.assertIn(b"Fatal Python error: Segmentation fault", result.stderr)
        self.assertEqual(result.crash, b"")

    def test_killed_by_a_signal_without_the_plugin(self) -> None:
        result = self.pytest(SEGFAULT, "-p", "no:faulthandler")
        self.assertEqual((result.status, result.stderr), (-11, b""), str(result))
        self.check_dump_of(result, "test_segfault")


@needs("pytest", "xdist")
class Xdist(RealProgramTest):
    """Its workers are started with all descriptors but the standard ones closed."""

    PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-v", "-n", "2")

    def test_descriptor_does_not_reach_the_workers(self) -> None:
        self.write("test_it.py", SEGFAULT)
        result = self.run_xdist()
        self.assertIn(b"crashed while running 'test_it.py::test_segfault'", result.stdout)
        self.assertEqual((result.status, result.crash), (1, b""), str(result))

    def test_file_does_thread(self) -> None:
        self.write("test_it.py", THREAD)
        result = self.run_xdist(to_file=True)
        self.assertEqual([r.kind for r in result.reports], ["thread"], str(result))

    def test_file_does_signal_without_the_plugin(self) -> None:
        self.write("test_it.py", SEGFAULT)
        result = self.run_xdist("-p", "no:faulthandler", to_file=True)
        self.check_dump_of(result, "test_segfault")

    def test_failing_tests_are_no_crashes(self) -> None:
        self.write("test_it.py", FAILING)
        result = self.run_xdist(to_file=True)
        self.assertEqual((result.status, result.crash), (1, b""), str(result))

    def run_xdist(self, *options: str, to_file: bool = False) -> RealResult:
        run = self.run_to_file if to_file else self.run_real
        return run([*self.PYTEST, *options, "test_it.py"], cwd=self.folder, ordered=False)


@needs("django")
class DjangoTests(RealProgramTest):
    """Its runner enables faulthandler on stderr, which has priority."""

    SETTINGS = """
        SECRET_KEY = 'x'
        DATABASES = {}
        USE_TZ = True
        """

    def run_tests(self, source: str) -> RealResult:
        self.write("settings.py", self.SETTINGS)
        self.write("test_it.py", "import signal\nfrom django.test import SimpleTestCase\n" + source)
        arguments = ["-m", "django", "test", "--settings", "settings", "--pythonpath", "."]
        return self.run_real(arguments, cwd=self.folder)

    def test_failing_tests_are_no_crashes(self) -> None:
        result = self.run_tests("class T(SimpleTestCase):\n def test(self): 1/0\n")
        self.assertIn(b"ZeroDivisionError", result.stderr)
        self.assertEqual((result.status, result.crash), (1, b""), str(result))

    def test_killed_by_a_signal(self) -> None:
        segfault = "class T(SimpleTestCase):\n def test(self): signal.raise_signal(11)\n"
        result = self.run_tests(segfault)
        self.assertIn(b"Fatal Python error: Segmentation fault", result.stderr)
        self.assertEqual((result.status, result.crash), (-11, b""), str(result))
