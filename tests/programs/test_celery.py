"""celery: a pool of forked workers, which are not those of multiprocessing."""

from __future__ import annotations

import signal

from tests.driver import environment, run
from tests.programs.program import RealProgramTest, RealResult, Server, needs

APP = """
import os, signal, threading
from celery import Celery

app = Celery('app', broker='filesystem://')
app.conf.broker_transport_options = {
    'data_folder_in': 'queue',
    'data_folder_out': 'queue',
    'control_folder': 'control',
    'polling_interval': 0.1,
}
app.conf.worker_lost_wait = 0.1

def boom():
    raise ValueError('in thread')

@app.task
def add(a, b):
    print('task ended', flush=True)
    return a + b

@app.task
def fail():
    raise KeyError('in task')

@app.task
def thread():
    thread = threading.Thread(target=boom, name='background')
    thread.start()
    thread.join()

@app.task
def segfault():
    signal.raise_signal(signal.SIGSEGV)
"""
# The worker reads a file that is still being written; a rename is atomic.
SEND = """
import os
from app import app
app.conf.broker_transport_options['data_folder_out'] = 'outbox'
app.send_task('app.%s', args=%r)
for name in os.listdir('outbox'):
    os.rename('outbox/' + name, 'queue/' + name)
"""


@needs("celery")
class Celery(RealProgramTest):
    def setUp(self) -> None:
        super().setUp()
        self.write("app.py", APP)
        for name in ("queue", "outbox", "control"):
            (self.folder / name).mkdir()

    def send(self, task: str, *arguments: int) -> None:
        sent = run(SEND % (task, arguments), cwd=self.folder, env=environment())
        self.assertEqual(sent.status, 0, str(sent))

    def serve_task(self, task: str, printed: str) -> RealResult:
        """Send ``task``, wait until ``printed``, send one that works, then SIGTERM."""

        def scenario(server: Server) -> None:
            server.wait_for(r"celery@\S+ ready")
            self.send(task)
            server.wait_for(printed)
            self.send("add", 1, 2)
            server.wait_for("task ended")
            server.wait_for(r"app\.add\[.*succeeded")
            server.send(signal.SIGTERM)

        worker = ["-m", "celery", "-A", "app", "worker", "--pool", "prefork", "-c", "1"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO"]
        return self.serve([*worker, *quiet], scenario, env={"C_FORCE_ROOT": "1"})

    def test_error_in_a_task_is_handled(self) -> None:
        result = self.serve_task("fail", "raised unexpected: KeyError")
        self.assertEqual(result.crash, b"", str(result))

    def test_thread_of_a_task(self) -> None:
        result = self.serve_task("thread", r"app\.thread\[.*succeeded")
        (report,) = result.reports
        self.assertEqual((report.kind, report.fields["thread"]), ("thread", "background"))
        self.assertTrue(report.body.endswith("\nValueError: in thread\n"), str(result))

    def test_worker_killed_by_a_signal_is_replaced(self) -> None:
        result = self.serve_task("segfault", "WorkerLostError")
        self.check_dump_of(result, "segfault")
