"""The programs that are run; each writes its own marks, because the start is another row."""

from __future__ import annotations

# os.write, because print would load and time the text layer as well.
_MARK = """\
import os, time
def mark():
    os.write(1, b"%.9f %.9f\\n" % (time.monotonic(), time.process_time()))
"""

MODULES = "import sys; print(*sys.modules)"

# smaps_rollup counts pages; VmRSS in /proc/self/status is, on some kernels, a sum
# of per-processor counters that may be a few hundred KiB behind (proc(5)). The
# control is private memory: a small program has not touched all pages of the
# interpreter's file that a larger one would touch anyway.
MEMORY = """\
kib = dict(line.split()[:2] for line in open("/proc/self/smaps_rollup") if ":" in line)
print(kib["Rss:"], kib["Anonymous:"])
"""

CRASH = (
    _MARK
    + """\
def read_order(line):
    name, _, price = line.partition("=")
    mark()
    return name, int(price)

def read_orders(lines):
    return dict(read_order(line) for line in lines)

print(read_orders(["apple=ten"]))
"""
)

CRASH_WITH_TRACEBACK = "import traceback\n" + CRASH

IMPORT_OF_TRACEBACK = _MARK + "mark()\nimport traceback\nmark()\n"


def _steady(work: str, before: str = "") -> str:
    return "%s%s\ndef work():\n%smark()\nwork()\nmark()\n" % (
        _MARK,
        before,
        "".join("    %s\n" % line for line in work.splitlines()),
    )


# Ordinary work of programs; each for about a tenth of a second or longer.
STEADY = {
    "CPU work": _steady(
        """\
for size in range(300):
    words = ["%d" % (i * i % 997) for i in range(1000)]
    sum(len(word) for word in sorted(words))
    dict(zip(words, range(1000)))
"""
    ),
    "imports": _steady(
        """\
import argparse, ast, asyncio, calendar, concurrent.futures, configparser, csv, dataclasses
import datetime, decimal, difflib, dis, email.message, fractions, ftplib, gzip, hashlib
import html.parser, http.client, http.server, inspect, json, logging.config, mimetypes
import multiprocessing, pathlib, pdb, pickle, platform, pprint, random, shutil, smtplib
import socketserver, statistics, string, subprocess, tarfile, tempfile, textwrap, threading
import traceback, typing, unittest, urllib.request, uuid, xml.dom.minidom, xmlrpc.client, zipfile
"""
    ),
    "thread start": _steady(
        """\
for _ in range(2000):
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
""",
        before="import threading",
    ),
    "`id()`": _steady("for thing in range(3000000):\n    id(thing)"),
    "`open()`": _steady("for _ in range(15000):\n    open(os.devnull).close()"),
    "100,000 logged lines": _steady(
        "for n in range(100000):\n    logging.info('line %d', n)",
        before="""\
import logging
logging.basicConfig(filename=__file__ + ".log", filemode="w", level=logging.INFO)
""",
    ),
}
