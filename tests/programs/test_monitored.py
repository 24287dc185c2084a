"""Servers and pools below ``crashenv run``: a killed worker is reported once, by its name."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from tests.driver import MonitorTest, monitor, run, wait_until
from tests.programs.program import RealProgramTest, Server, get, needs

# A worker may be killed before the monitor has a pidfd for it; these live long enough.
SEEN = """
import glob, os, time
def wait_until_seen():
    folder = os.environ['PYDEBUG'].partition('/proc/')[2].partition('/')[0]
    while True:
        for path in glob.glob('/proc/%s/fdinfo/*' % folder):
            try:
                if '\\nPid:\\t%d\\n' % os.getpid() in open(path).read(): return
            except OSError: pass
        time.sleep(0.01)
def die(number=9):
    wait_until_seen()
    os.kill(os.getpid(), number)
"""


class MonitoredTest(RealProgramTest, MonitorTest):
    def setUp(self) -> None:
        super().setUp()
        self.write("seen.py", SEEN)
        self.env["PYTHONPATH"] = os.pathsep.join([str(self.folder), self.env.get("PYTHONPATH", "")])

    def start(self, *program: str, **env: str) -> Server:
        args = [*monitor("--quiet"), sys.executable, *program]
        server = Server(args, self.folder, env={**self.env, **env})
        self.addCleanup(server.kill)
        return server

    def finish(self, server: Server, number: int | None = signal.SIGTERM) -> None:
        if number is not None:
            server.send(number)
        server.wait()

    def kept(self, count: int) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.records()) >= count, "%d records" % count)
        return self.records()

    def check_death(self, record: dict[str, Any], program: str, words: str) -> None:
        self.assertEqual((record["kind"], record["summary"]), ("death", "killed by SIGKILL"))
        self.assertEqual(os.path.basename(record["program"]), program)
        self.assertIn(sys.executable, record["command"][0])
        self.assertTrue(record["last_words"].endswith(words), record["last_words"])
        self.assertGreater(record["parent"], 1)


WSGI = """
import crashenv, os, seen
def application(environ, start_response):
    crashenv.note('request ' + environ['PATH_INFO'])
    if environ['PATH_INFO'] == '/kill': seen.die()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [str(os.getpid()).encode()]
"""


@needs("gunicorn")
class Gunicorn(MonitoredTest):
    def serve(self, *paths: str) -> Server:  # type: ignore[override]
        self.write("app.py", WSGI)
        socket = str(self.folder / "http")
        bind = ["--bind", "unix:" + socket, "--no-control-socket", "--workers", "2"]
        server = self.start(
            "-m", "gunicorn", *bind, "--worker-tmp-dir", str(self.folder), "app:application"
        )
        server.wait_for("Booting worker", times=2)
        for number, path in enumerate(paths):
            get(socket, path)
            self.assertTrue(get(socket, "/").isdigit())
            server.wait_for("Booting worker", times=2 + number + 1 if path == "/kill" else 2)
        self.finish(server)
        self.assertEqual(server.process.returncode, 0, str(server.result()))
        return server

    def test_killed_worker(self) -> None:
        server = self.serve("/kill")
        (record,) = self.records()
        self.check_death(record, "gunicorn", "request /kill\n")
        self.assertIn(str(record["pid"]), server.printed(r"Booting worker with pid: (\d+)"))
        self.assertEqual(server.printed(r"\[(\d+)\] \[INFO\] Starting"), [str(record["parent"])])

    def test_nothing_for_a_clean_end(self) -> None:
        self.serve("/")
        self.assertEqual(self.records(), [])


TASKS = """
import os, seen
from celery import Celery
app = Celery('tasks', broker='filesystem://')
app.conf.broker_transport_options = {
    'data_folder_in': 'queue',
    'data_folder_out': 'queue',
    'control_folder': 'control',
    'polling_interval': 0.1,
}
app.conf.worker_lost_wait = 0.1
@app.task
def add(a, b): return a + b
@app.task
def kill():
    import crashenv
    crashenv.note('task kill')
    seen.die()
"""
SEND = """
import os
from tasks import app
app.conf.broker_transport_options['data_folder_out'] = 'outbox'
app.send_task('tasks.%s', args=%r)
for name in os.listdir('outbox'):
    os.rename('outbox/' + name, 'queue/' + name)
"""


@needs("celery")
class Celery(MonitoredTest):
    def setUp(self) -> None:
        super().setUp()
        self.write("tasks.py", TASKS)
        for name in ("queue", "outbox", "control"):
            (self.folder / name).mkdir()

    def worker(self) -> Server:
        options = ["--pool", "prefork", "-c", "1", "--without-gossip", "--without-mingle"]
        command = ["-m", "celery", "-A", "tasks", "worker", *options, "-l", "INFO"]
        server = self.start(*command, C_FORCE_ROOT="1")
        server.wait_for(r"celery@\S+ ready")
        return server

    def send(self, task: str, *arguments: int) -> None:
        sent = run(SEND % (task, arguments), cwd=self.folder)
        self.assertEqual(sent.status, 0, str(sent))

    def test_killed_worker(self) -> None:
        server = self.worker()
        self.send("kill")
        server.wait_for("WorkerLostError")
        (record,) = self.kept(1)
        self.check_death(record, "celery", "task kill\n")
        (text,) = set(server.printed(r"Process '(ForkPoolWorker-\d+)' pid:(\d+)"))
        self.assertEqual((record["process"], str(record["pid"])), text)
        self.send("add", 1, 2)
        server.wait_for(r"tasks\.add\[.*succeeded")
        self.finish(server)
        # celery kills the worker that replaced it, if it does not end in time.
        (again,) = [r for r in self.records() if r.get("last_words")]
        self.assertEqual(again, record)

    def test_nothing_for_a_clean_end(self) -> None:
        server = self.worker()
        self.send("add", 1, 2)
        server.wait_for(r"tasks\.add\[.*succeeded")
        self.finish(server)
        self.assertEqual(self.records(), [])


@needs("honcho")
class Honcho(MonitoredTest):
    def run_web(self, source: str) -> list[dict[str, Any]]:
        path = self.write("web.py", source)
        self.write("Procfile", "web: exec %s %s\n" % (sys.executable, path))
        self.finish(self.start("-m", "honcho", "start"), None)
        return self.records()

    def test_killed_process(self) -> None:
        (record,) = self.run_web("import crashenv, seen\ncrashenv.note('at work')\nseen.die()")
        self.check_death(record, "web.py", "at work\n")

    def test_exception(self) -> None:
        (record,) = self.run_web("raise ValueError('boom')")
        self.assertEqual((record["kind"], record["summary"]), ("exception", "ValueError: boom"))

    def test_nothing_for_a_clean_end(self) -> None:
        self.assertEqual(self.run_web("import seen; seen.wait_until_seen()"), [])


NOTEBOOK = """
import nbclient, nbformat, sys
notebook = nbformat.v4.new_notebook()
notebook.cells = [nbformat.v4.new_code_cell(source) for source in sys.argv[1:]]
try:
    nbclient.NotebookClient(notebook, timeout=60, kernel_name='here').execute()
except nbclient.exceptions.DeadKernelError:
    print('the kernel died')
except nbclient.exceptions.CellExecutionError:
    print('a cell failed')
"""


@needs("nbclient", "ipykernel")
class Nbclient(MonitoredTest):
    def run_cells(self, *cells: str) -> tuple[list[dict[str, Any]], str]:
        kernel = '{"argv": ["%s", "-m", "ipykernel_launcher", "-f", "{connection_file}"]'
        kernel += ', "display_name": "here", "language": "python"}'
        self.write("jupyter/kernels/here/kernel.json", kernel % sys.executable)
        env = {"JUPYTER_PATH": str(self.folder / "jupyter"), "HOME": str(self.folder)}
        server = self.start(self.write("run.py", NOTEBOOK), *cells, **env)
        self.finish(server, None)
        self.assertEqual(server.process.returncode, 0, str(server.result()))
        return self.records(), server.result().stdout.decode()

    def test_killed_kernel(self) -> None:
        cells = "import crashenv, seen", "crashenv.note('cell 2')", "seen.die()"
        (record,), printed = self.run_cells(*cells)
        self.assertEqual(printed, "the kernel died\n")
        self.check_death(record, "ipykernel_launcher", "cell 2\n")

    def test_native_crash_of_a_kernel(self) -> None:
        (record,), _ = self.run_cells("import seen", "def f(): seen.die(11)", "f()")
        self.assertEqual(record["summary"], "killed by SIGSEGV")
        self.assertEqual(len([t for t in record["dump"]["threads"] if t["current"]]), 1)

    def test_thread_of_a_kernel(self) -> None:
        cell = "import threading; t = threading.Thread(target=lambda: 1/0); t.start(); t.join()"
        (record,), _ = self.run_cells(cell)
        self.assertEqual(record["kind"], "thread")

    def test_error_in_a_cell_is_handled(self) -> None:
        records, printed = self.run_cells("1/0")
        self.assertEqual((records, printed), ([], "a cell failed\n"))

    def test_nothing_for_a_clean_end(self) -> None:
        self.assertEqual(self.run_cells("1 + 1"), ([], ""))


POOL = """
import crashenv, os, seen
def work(number):
    crashenv.note('job %d' % number)
    if number == 3 and 'KILL' in os.environ: seen.die()
    return number
if __name__ == '__main__':
    import joblib
    try: print(joblib.Parallel(n_jobs=2)(joblib.delayed(work)(n) for n in range(5)))
    except Exception as error: print(type(error).__name__)
"""


@needs("joblib")
class Joblib(MonitoredTest):
    def run_pool(self, **env: str) -> str:
        server = self.start(self.write("pool.py", POOL), **env)
        self.finish(server, None)
        return server.result().stdout.decode()

    def test_killed_worker(self) -> None:
        self.assertEqual(self.run_pool(KILL="1"), "TerminatedWorkerError\n")
        # loky kills the other workers then.
        (record,) = [r for r in self.records() if r["last_words"].endswith("job 3\n")]
        self.check_death(record, "pool.py", "job 3\n")
        self.assertRegex(record["process"], r"\ALokyProcess-\d+\Z")

    def test_nothing_for_a_clean_end(self) -> None:
        self.assertEqual(self.run_pool(), "[0, 1, 2, 3, 4]\n")
        self.assertEqual(self.records(), [])


ASGI = """
import crashenv, os, seen
async def application(scope, receive, send):
    assert scope['type'] == 'http'
    crashenv.note('request ' + scope['path'])
    if scope['path'] == '/kill': seen.die()
    await send({'type': 'http.response.start', 'status': 200, 'headers': []})
    await send({'type': 'http.response.body', 'body': str(os.getpid()).encode()})
"""


@needs("uvicorn")
class Uvicorn(MonitoredTest):
    def test_killed_worker(self) -> None:
        self.write("app.py", ASGI)
        socket = str(self.folder / "http")
        server = self.start("-m", "uvicorn", "--uds", socket, "--workers", "2", "app:application")
        server.wait_for("startup complete", times=2)
        get(socket, "/kill")
        server.wait_for("startup complete", times=3)
        self.assertTrue(get(socket, "/").isdigit())
        self.finish(server)
        (record,) = self.records()
        self.check_death(record, "uvicorn", "request /kill\n")
        self.assertRegex(record["process"], r"\ASpawnProcess-\d+\Z")
