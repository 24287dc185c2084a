"""Write the corpus of the interpreter that runs this: ``python tests/make_corpus.py``.

``corpus/VERSION/CASE.txt`` is the text of the crash output, ``CASE.json`` has the records
that the parser made from it; read them before you commit them. Folders, process ids,
times and addresses, which differ between machines or runs, are replaced.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if importlib.util.find_spec("crashenv") is None:
    sys.path.insert(0, str(ROOT / "src"))

from crashenv._reading.build import record  # noqa: E402
from crashenv._reading.frames import Frame, Splitter  # noqa: E402

CORPUS = ROOT / "tests" / "corpus"
PYPY = sys.implementation.name == "pypy"
# Keys in the records of every case that repeat a part of the text or of the header.
LEFT_OUT = ("schema", "text", "header", "time", "python", "program")

CASES = {
    "command": "1/0",
    "functions": """
        def load(path):
            with open(path) as file:
                return file.read()

        class Application:
            def run(self):
                return load("missing.ini")

        Application().run()
        """,
    "library": "import json\njson.loads('{')\n",
    "own_type": """
        class Failed(Exception):
            pass

        def make():
            class Local(Failed):
                pass
            raise Local("in a function's class")

        make()
        """,
    "no_message": "raise ValueError",
    "empty_message": "raise ValueError('')",
    "lines": "raise ValueError('first line\\n\\n  third line\\n')",
    "controls": "raise ValueError('\\x1b[31mred\\x1b[0m \\r\\x07 \\x00 \\x85 \\u2028 end')",
    "surrogate": "raise ValueError('\\udcff and \\N{SNOWMAN}')",
    "key_error": "{}['missing\\nkey']",
    "no_str": """
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError
        raise Mute(1)
        """,
    "cause": """
        def load():
            try:
                {}["key"]
            except KeyError as error:
                raise ValueError("first") from error

        try:
            load()
        except ValueError as error:
            raise RuntimeError("second") from error
        """,
    "context": """
        try:
            1/0
        except ZeroDivisionError:
            raise ValueError("while handling")
        """,
    "cause_never_raised": "raise ValueError('raised') from KeyError('never raised')",
    "from_none": "try: 1/0\nexcept ZeroDivisionError: raise ValueError('alone') from None\n",
    "long_chain": """
        error = None
        for number in range(60):
            new = ValueError("number %d" % number)
            new.__cause__ = error
            error = new
        raise error
        """,
    "forged": """
        raise ValueError(
            "a report:\\n"
            "crashenv: report kind=exception pid=1 bytes=5\\nabcd\\n"
            "Traceback (most recent call last):\\n"
            '  File "forged.py", line 1, in forged\\n'
            "    forged()\\n"
            "KeyError: 'forged'"
        )
        """,
    "recursion": """
        def down():
            down()
        down()
        """,
    "several_lines": """
        def total(*numbers):
            return sum(numbers)

        print(
            total(
                1,
                "2",
            )
            + 3
        )
        """,
    "operators": """
        def ratio(a, b, c):
            return a["x"] + (b["y"] / c) * 2

        ratio({"x": 1}, {"y": 1}, 0)
        """,
    "wide_characters": 'größe = 1; 日本 = None; print("日本", größe + 日本.name + 1)\n',
    "syntax_error": "def f():\n    return (1\n",
    "syntax_error_with_range": "x = 1\nif x = 2 + 3:\n    pass\n",
    "syntax_error_in_import": "import broken\n",
    "syntax_error_without_text": "raise SyntaxError('said by the program')",
    "indentation_error": "if True:\npass\n",
    "missing_module": "import nothing_here",
    "thread": """
        import threading
        def work():
            raise ValueError("in a thread")
        thread = threading.Thread(target=work, name="worker [1]:\\nTraceback")
        thread.start()
        thread.join()
        """,
    "raw_thread": """
        import _thread, time
        def work():
            raise ValueError("in a raw thread")
        _thread.start_new_thread(work, ())
        while not open("crash.log").read(): time.sleep(0.01)
        """,
    "process": """
        import multiprocessing
        def work():
            raise ValueError("in a worker")
        if __name__ == "__main__":
            context = multiprocessing.get_context("fork")
            worker = context.Process(target=work, name="worker: 1")
            worker.start()
            worker.join()
        """,
    "all_threads": """
        import threading
        ready, done = threading.Event(), threading.Event()
        def wait():
            ready.set()
            done.wait()
        threading.Thread(target=wait, name="waiting", daemon=True).start()
        ready.wait()
        raise ValueError("with all threads")
        """,
    "shortened_message": "raise ValueError('x' * 5000)",
    "shortened_frames": """
        for n in range(100):
            exec("def f%d():\\n f%d()" % (n, n + 1))
        def f100(): 1/0
        f0()
        """,
    "segmentation_fault": """
        import os, signal
        def culprit():
            os.kill(os.getpid(), signal.SIGSEGV)
        culprit()
        """,
    "abort": "import os; os.abort()",
    "threads_and_bus_error": """
        import os, signal, sys, threading
        sys.modules["speed._ups"] = sys.modules["other"] = __import__("math")
        ready, done = threading.Event(), threading.Event()
        def wait():
            ready.set()
            done.wait()
        threading.Thread(target=wait, name="waiting", daemon=True).start()
        ready.wait()
        os.kill(os.getpid(), signal.SIGBUS)
        """,
    "five_threads": """
        import os, signal, threading
        done, barrier = threading.Event(), threading.Barrier(6)
        def wait():
            barrier.wait()
            done.wait()
        for _ in range(5):
            threading.Thread(target=wait, name="same", daemon=True).start()
        barrier.wait()
        def culprit():
            os.kill(os.getpid(), signal.SIGSEGV)
        culprit()
        """,
    "quit": "import os, signal; os.kill(os.getpid(), signal.SIGQUIT)",
    "on_request": """
        import os, signal
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR2)
        """,
}
SINCE_3_11 = {
    "notes": """
        error = ValueError("with notes")
        error.add_note("first note\\nof two lines")
        error.add_note("second note")
        raise error
        """,
    "group": """
        raise ExceptionGroup("several", [ValueError(1), KeyError("a"), OSError(2, "no")])
        """,
    "group_tree": """
        def fail(error):
            try:
                raise error
            except Exception as raised:
                return raised

        try:
            raise KeyError("root")
        except KeyError as error:
            chained = fail(ValueError("two\\nlines"))
        syntax = SyntaxError("bad", ("f.py", 3, 5, "a b c\\n"))
        inner = ExceptionGroup("inner\\nlines", [fail(TypeError(1)), syntax])
        inner.add_note("a note")
        try:
            raise ExceptionGroup("outer", [chained, inner])
        except ExceptionGroup as error:
            raise RuntimeError("after") from error
        """,
    "group_of_many": "raise ExceptionGroup('many', [ValueError(n) for n in range(20)])",
    "group_that_is_deep": """
        error = ValueError("deepest")
        for n in range(15):
            error = ExceptionGroup("level %d" % n, [error])
        raise error
        """,
}
NOT_WRITTEN_BY_PYPY = ("quit", "on_request", "all_threads")  # its faulthandler has no register()
SETTINGS = {
    "all_threads": "crashtraceback=all",
    "shortened_message": "crashlimit=1K",
    "shortened_frames": "crashlimit=2K",
    "on_request": "crashsignal=USR2",
}
COMMANDS = ("command", "shortened_frames")
FILES = {"broken.py": "def f(:\n    pass\n"}


def label() -> str:
    """Return the folder's name: ``3.13``, ``pypy3.9``."""
    return "%s%d.%d" % ("pypy" * PYPY, *sys.version_info[:2])


def cases() -> dict[str, str]:
    found = dict(CASES)
    if sys.version_info >= (3, 11):
        found.update(SINCE_3_11)
    return {name: found[name] for name in found if not (PYPY and name in NOT_WRITTEN_BY_PYPY)}


def crash(name: str, source: str) -> bytes:
    """Return the crash output of a program in its own folder, with neutral values."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        for file, text in {**FILES, "app.py": textwrap.dedent(source).lstrip("\n")}.items():
            (folder / file).write_text(text, "utf-8")
        settings = "crashfile=crash.log," + SETTINGS.get(name, "")
        variables = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "sitecustomize"),
            "PYDEBUG": settings,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [
            sys.executable,
            *(["-c", textwrap.dedent(source)] if name in COMMANDS else ["app.py"]),
        ]
        subprocess.run(command, cwd=folder, env=variables, stderr=subprocess.DEVNULL, check=False)
        written = (folder / "crash.log").read_bytes()
        return b"".join(neutral(frame, str(folder)) for frame in split(written))


def split(stream: bytes) -> list[Frame]:
    splitter = Splitter()
    return splitter.feed(stream) + splitter.close()


def neutral(frame: Frame, folder: str) -> bytes:
    body = frame.body.replace(folder.encode(), b"/app")
    version = "%d.%d" % sys.version_info[:2]
    for path in {sysconfig.get_path("stdlib"), os.path.realpath(sysconfig.get_path("stdlib"))}:
        library = "/usr/lib/%s%s" % ("pypy" if PYPY else "python", version)
        body = body.replace(path.encode(), library.encode())
    for prefix in {sys.base_prefix, os.path.realpath(sys.base_prefix)} - {"/usr"}:
        body = body.replace(prefix.encode(), b"/usr")
    addresses: dict[bytes, bytes] = {}
    body = re.sub(
        rb"0x[0-9a-f]{5,}",
        lambda m: addresses.setdefault(m[0], b"0x%0*x" % (len(m[0]) - 2, len(addresses) + 1)),
        body,
    )
    if frame.kind == "dump":
        return body
    body = re.sub(rb"(?<=ignored in thread )\d+", b"1", body)
    values = {"pid": "7", "tid": "7", "time": "2026-11-22T10:11:12.345678Z"}
    header, _, _ = frame.raw.partition(b" bytes=")
    for key, value in values.items():
        header = re.sub(
            rb" %s=\S+" % key.encode(), b" %s=%s" % (key.encode(), value.encode()), header
        )
    header = header.replace(folder.encode(), b"/app")
    return b"%s bytes=%d\n%s" % (header, len(body), body)


def expected(stream: bytes) -> list[dict[str, Any]]:
    """Return the records, without the keys that repeat the text."""
    return [
        {key: value for key, value in record(frame).items() if key not in LEFT_OUT}
        for frame in split(stream)
    ]


def main() -> int:
    folder = CORPUS / label()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, source in cases().items():
        stream = crash(name, source)
        assert stream, name
        (folder / (name + ".txt")).write_bytes(stream)
        text = json.dumps(expected(stream), indent=1, sort_keys=True)
        (folder / (name + ".json")).write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
