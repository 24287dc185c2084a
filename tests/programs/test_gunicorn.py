"""gunicorn: a master that forks its workers, and forks them again."""

from __future__ import annotations

import os
import re
import signal

from tests.programs.program import RealProgramTest, RealResult, Server, get, needs

APP = """
import os, signal, threading

def boom():
    raise ValueError('in thread')

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/thread':
        thread = threading.Thread(target=boom, name='background')
        thread.start()
        thread.join()
    elif path == '/error':
        raise KeyError('in request')
    elif path == '/segfault':
        signal.raise_signal(signal.SIGSEGV)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]
"""


@needs("gunicorn")
class Gunicorn(RealProgramTest):
    def setUp(self) -> None:
        super().setUp()
        self.socket = str(self.folder / "http")
        self.write("app.py", APP)
        self.write("broken.py", "import os\nos.nothing_here\n")

    def gunicorn(self, *arguments: str) -> list[str]:
        bind = ["--bind", "unix:" + self.socket, "--no-control-socket"]
        return ["-m", "gunicorn", *bind, "--worker-tmp-dir", str(self.folder), *arguments]

    def serve_pages(self, *paths: str, options: tuple[str, ...] = ()) -> RealResult:
        """Ask for each page, for a page that works after each, then SIGTERM."""

        def scenario(server: Server) -> None:
            server.wait_for("Booting worker")
            for path in paths:
                get(self.socket, path)
                self.assertTrue(get(self.socket, "/").isdigit())
            server.send(signal.SIGTERM)

        result = self.serve(self.gunicorn(*options, "app:application"), scenario)
        self.assertEqual(result.status, 0, str(result))
        return result

    def test_nothing_crashes(self) -> None:
        self.assertEqual(self.serve_pages("/").crash, b"")

    def test_error_in_a_request_is_handled(self) -> None:
        result = self.serve_pages("/error")
        self.assertIn(b"KeyError: 'in request'", result.stderr)
        self.assertEqual(result.crash, b"", str(result))

    def test_thread_of_a_worker(self) -> None:
        result = self.serve_pages("/thread")
        (report,) = self.check_kinds(result, "thread")
        (worker,) = workers(result)
        self.assertEqual((report.fields["thread"], report.fields["pid"]), ("background", worker))

    def test_worker_killed_by_a_signal_is_replaced(self) -> None:
        for options in ((), ("--threads", "2"), ("--preload",)):
            with self.subTest(options):
                result = self.serve_pages("/segfault", "/segfault", options=options)
                self.check_dump_of(result, "application", times=2)
                self.assertEqual(len(set(workers(result))), 3, str(result))

    def test_error_at_import_in_a_worker_is_handled(self) -> None:
        # gunicorn logs it and ends with status 3, which is not a crash for Python.
        result = self.serve(self.gunicorn("broken"), Server.wait)
        self.assertEqual((result.status, result.crash), (3, b""), str(result))
        self.assertIn(b"has no attribute 'nothing_here'", result.stderr)

    def test_error_at_import_in_the_master(self) -> None:
        result = self.serve(self.gunicorn("--preload", "broken"), Server.wait)
        self.check_kinds(result, "exception")
        self.assertEqual(result.status, 1)

    def test_master_that_executes_itself_again(self) -> None:
        # SIGUSR2: os.fork, then os.execvpe with the environment and the inheritable descriptors.
        def scenario(server: Server) -> None:
            server.wait_for("Booting worker")
            server.send(signal.SIGUSR2)
            server.wait_for("Booting worker", times=2)
            new = int(server.wait_for(r"\[(\d+)\] \[INFO\] Starting gunicorn", times=2))
            server.send(signal.SIGTERM)
            server.wait_for("Shutting down: Master")
            get(self.socket, "/segfault")
            server.wait_for("Booting worker", times=3)
            server.wait_for("Master has been promoted")
            os.kill(new, signal.SIGTERM)
            server.wait_for("Shutting down: Master", times=2)

        result = self.serve(self.gunicorn("app:application"), scenario)
        self.check_dump_of(result, "application")


def workers(result: RealResult) -> list[str]:
    return re.findall(r"Booting worker with pid: (\d+)", result.stderr.decode())
