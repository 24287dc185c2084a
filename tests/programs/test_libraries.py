"""Libraries that replace functions that are looked up at a crash."""

from __future__ import annotations

import importlib.util

from tests.programs.program import RealProgramTest

THREADS = """
import threading
def work(): raise ValueError('boom')
class Own(threading.Thread):
    def run(self): work()
for thread in (threading.Thread(target=work), Own(), threading.Timer(0.01, work)):
    thread.start()
    thread.join()
"""
WORKERS = """
def work(): raise ValueError('boom')
if __name__ == '__main__':
    import {package}
    for method in {methods}:
        process = {package}.get_context(method).Process(target=work)
        process.start()
        process.join()
"""
GREEN = """
import eventlet
eventlet.monkey_patch()
from eventlet.green import threading as green
import threading
def work(): raise ValueError('boom')
for module in (threading, green, eventlet.patcher.original('threading')):
    thread = module.Thread(target=work)
    thread.start()
    thread.join()
"""
TYPER = """
import threading, time, typer
app = typer.Typer()
@app.command()
def main():
    threading.Thread(target=time.sleep, args=(0.5,)).start()
    raise ValueError('boom')
app()
"""
RICH = """
import atexit, os
from rich.traceback import install
install()
atexit.register(os._exit, 1)
raise ValueError('boom')
"""
LOGURU = """
import os, sys
from loguru import logger
def hook(*info):
    logger.opt(exception=info).error('crash')
    os._exit(3)
sys.excepthook = hook
raise ValueError('boom')
"""
QT = """
import os
os.environ['QT_QPA_PLATFORM'] = 'offscreen'
from PyQt6.QtCore import QCoreApplication, QTimer
app = QCoreApplication([])
def slot(): raise ValueError('boom')
QTimer.singleShot(10, slot)
app.exec()
"""
TRIO = """
import trio
async def child(): raise KeyboardInterrupt
async def main():
    async with trio.open_nursery() as nursery: nursery.start_soon(child)
trio.run(main)
"""
ANYIO = """
import anyio
async def child(): raise {error}
async def main():
    async with anyio.create_task_group() as group: group.start_soon(child)
anyio.run(main)
"""
MONKEY = "from gevent import monkey\nmonkey.patch_all()\n"
FROZEN = "from freezegun import freeze_time\nfreeze_time('2020-01-01').start()\n"
OTEL = (
    "from opentelemetry.instrumentation.threading import ThreadingInstrumentor\n"
    "ThreadingInstrumentor().instrument()\n"
)
# package, program, reports
CASES: tuple[tuple[str, str, list[str]], ...] = (
    ("gevent", MONKEY + THREADS, ["thread"] * 3),
    ("gevent", "import threading\n" + MONKEY + THREADS, ["thread"] * 3),
    ("eventlet", GREEN, ["thread"] * 3),
    ("freezegun", FROZEN + THREADS, ["thread"] * 3),
    ("opentelemetry.instrumentation.threading", OTEL + THREADS, ["thread"] * 3),
    (
        "multiprocess",
        WORKERS.format(package="multiprocess", methods=("fork", "spawn", "forkserver")),
        ["process"] * 3,
    ),
    ("billiard", WORKERS.format(package="billiard", methods=("fork", "spawn")), ["process"] * 2),
    ("typer", TYPER, ["exception"]),
    ("rich", RICH, ["exception"]),
    ("loguru", LOGURU, ["exception"]),
    ("PyQt6", QT, ["exception"]),
    ("trio", TRIO, []),
    ("anyio", ANYIO.format(error="KeyboardInterrupt"), []),
    ("anyio", ANYIO.format(error="ValueError('boom')"), ["exception"]),
)


class Libraries(RealProgramTest):
    def test_reports(self) -> None:
        for number, (package, program, kinds) in enumerate(CASES):
            with self.subTest(package, number=number):
                try:
                    found = importlib.util.find_spec(package)
                except ImportError:
                    found = None
                if found is None:
                    self.skipTest("not installed: " + package)
                result = self.run_real([self.write("app%d.py" % number, program)])
                self.assertEqual([r.kind for r in result.reports], kinds, str(result))
                self.assertNotIn(b"crashenv/_", result.stderr)
