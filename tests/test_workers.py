"""A multiprocessing worker: no hook of sys ever sees its exception."""

from __future__ import annotations

import multiprocessing

from tests.driver import OUTPUTS, ProgramTest, Report, Result, wait_until

METHODS = multiprocessing.get_all_start_methods()
PROGRAM = """
import multiprocessing, os, sys, threading, _thread

def work():
    raise ValueError('in worker')

class Worker(multiprocessing.Process):
    def run(self):
        raise ValueError('in worker')

def nested():
    child = multiprocessing.get_context({method!r}).Process(target=work, name='inner')
    child.start()
    child.join()

def in_thread():
    t = threading.Thread(target=work)
    t.start()
    t.join()

def segfault(*args):
    os.kill(os.getpid(), 11)

def leave(how):
    how(3)
