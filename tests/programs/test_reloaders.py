"""Development servers: a process that starts the same program as its child repeatedly."""

from __future__ import annotations

import signal

from tests.programs.program import RealProgramTest, RealResult, Scenario, Server, get, needs

BOOM = """
import signal, threading

def boom():
    raise ValueError('in thread')

def crash():
    thread = threading.Thread(target=boom, name='background')
    thread.start()
    thread.join()
    return 'crashed'

def fail():
    raise KeyError('in request')

def segfault():
    signal.raise_signal(signal.SIGSEGV)
"""
FLASK = """
import flask
from boom import crash, fail, segfault

app = flask.Flask(__name__)
for view in (crash, fail, segfault):
    app.add_url_rule('/' + view.__name__, view_func=view)
"""
DJANGO = """
import sys
import boom
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=['*'], DEBUG=True, ROOT_URLCONF=__name__, SECRET_KEY='x', USE_TZ=True
)
urlpatterns = [
    path('crash', lambda request: HttpResponse(boom.crash())),
    path('fail', lambda request: boom.fail()),
    path('segfault', lambda request: boom.segfault()),
]
if __name__ == '__main__':
    execute_from_command_line(sys.argv)
"""


class Reloader(RealProgramTest):
    def setUp(self) -> None:
        super().setUp()
        self.write("boom.py", BOOM)

    def check_thread(self, result: RealResult) -> None:
        (report,) = self.check_kinds(result, "thread")
        self.assertEqual(report.fields["thread"], "background")


@needs("flask")
class Flask(Reloader):
    RELOADING = ("-m", "flask", "--app", "app", "run", "--debug")

    def setUp(self) -> None:
        super().setUp()
        self.write("app.py", FLASK)

    def serve_pages(self, scenario: Scenario) -> RealResult:
        def whole(server: Server) -> None:
            server.wait_for("Debugger PIN")  # printed by the child, once it listens
            scenario(server)

        return self.serve([*self.RELOADING, "--port", "0"], whole)

    def get(self, server: Server, path: str) -> str:
        return get(int(server.wait_for(r"http://127\.0\.0\.1:(\d+)")), path)

    def test_thread(self) -> None:
        def scenario(server: Server) -> None:
            self.assertEqual(self.get(server, "/crash"), "crashed")
            server.send(signal.SIGTERM)

        self.check_thread(self.serve_pages(scenario))

    def test_error_in_a_request_is_handled(self) -> None:
        def scenario(server: Server) -> None:
            self.get(server, "/fail")
            server.wait_for("\nKeyError: 'in request'")
            server.interrupt()

        result = self.serve_pages(scenario)
        self.assertIn(b"KeyError: 'in request'", result.stderr)
        self.assertEqual(result.crash, b"", str(result))

    def test_killed_by_a_signal(self) -> None:
        def scenario(server: Server) -> None:
            self.get(server, "/segfault")

        result = self.serve_pages(scenario)
        self.check_dump_of(result, "segfault")

    def test_error_at_import(self) -> None:
        self.write("app.py", "import os\nos.nothing_here\n")
        for arguments in (self.RELOADING, self.RELOADING[:-1]):
            with self.subTest(arguments):
                result = self.serve([*arguments, "--port", "0"], Server.wait)
                self.check_kinds(result, "exception")
                self.assertEqual(result.status, 1)

    def test_error_at_import_after_a_restart_is_handled(self) -> None:
        # flask shows it on every page until the source is changed.
        restarted = "import os\nif 'WERKZEUG_RUN_MAIN' in os.environ: os.nothing_here\n"
        self.write("app.py", restarted + FLASK)

        def scenario(server: Server) -> None:
            self.assertIn("nothing_here", self.get(server, "/"))
            server.wait_for('"GET / HTTP/1.1" 500(.|\\n)*AttributeError')
            server.send(signal.SIGTERM)

        self.assertEqual(self.serve_pages(scenario).crash, b"")


@needs("werkzeug")
class Werkzeug(Reloader):
    def test_error_at_import(self) -> None:
        # The first process ends with the status of its child, where the error is.
        self.write("broken.py", "import os\nos.nothing_here\n")
        script = self.write(
            "server.py",
            """
            import os
            from werkzeug.serving import run_simple
            if 'WERKZEUG_RUN_MAIN' in os.environ:
                import broken
            run_simple('127.0.0.1', 0, None, use_reloader=True)
            """,
        )
        result = self.serve([script], Server.wait)
        self.check_kinds(result, "exception")
        self.assertEqual(result.status, 1)


@needs("django")
class Django(Reloader):
    def setUp(self) -> None:
        super().setUp()
        self.write("manage.py", DJANGO)

    def serve_pages(self, scenario: Scenario) -> RealResult:
        env = {"PYTHONUNBUFFERED": "1"}
        return self.serve(["manage.py", "runserver", "127.0.0.1:0"], scenario, env=env)

    def get(self, server: Server, path: str) -> str:
        return get(int(server.wait_for(r"http://127\.0\.0\.1:(\d+)")), path)

    def test_thread(self) -> None:
        for stop in (Server.interrupt, lambda server: server.send(signal.SIGTERM)):
            with self.subTest(stop):

                def scenario(server: Server, stop: Scenario = stop) -> None:
                    self.assertEqual(self.get(server, "/crash"), "crashed")
                    stop(server)

                self.check_thread(self.serve_pages(scenario))

    def test_error_in_a_request_is_handled(self) -> None:
        def scenario(server: Server) -> None:
            self.get(server, "/fail")
            server.wait_for("\nKeyError: 'in request'")
            server.interrupt()

        result = self.serve_pages(scenario)
        self.assertIn(b"KeyError: 'in request'", result.stderr)
        self.assertEqual(result.crash, b"", str(result))

    def test_killed_by_a_signal(self) -> None:
        def scenario(server: Server) -> None:
            self.get(server, "/segfault")

        result = self.serve_pages(scenario)
        self.check_dump_of(result, "segfault")

    def test_error_at_import(self) -> None:
        self.write("boom.py", "import os\nos.nothing_here\n")
        result = self.serve_pages(Server.wait)
        self.check_kinds(result, "exception")
        self.assertEqual(result.status, 1)
