"""Crash a program with random PYDEBUG values.

    python tests/fuzz_settings.py [--cases N] [--seed N]

Each case is a process that reads the value, prints, and crashes. Its stdout,
stderr and status must be the usual ones, except for the warning about a wrong value,
and there is at most one report, complete, wherever the value sent it. The exit
status is 1 if any case differs; ``--seed N --cases 1`` repeats only case N.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.driver import DEADLINE, ROOT, command, environment, split

PASSED = range(3, 8)  # files that are open for writing and were passed
# Each case is forked from an interpreter that has not read PYDEBUG: starting an
# interpreter for each would take ten times as long.
PROGRAM = """
import os, sys
folder, source = sys.argv[1:]
sys.path.insert(0, source)
def redirect(name, fd):
    path = os.path.join(folder, name)
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC), fd)
while True:
    line = sys.stdin.readline()
    if not line: break
    child = os.fork()
    if not child:
        redirect('stdout', 1)
        redirect('stderr', 2)
        os.environ['PYDEBUG'] = os.fsdecode(bytes.fromhex(line))
        import crashenv
        crashenv._start()
        print('hello')
        raise ValueError('boom')
    print(os.waitpid(child, 0)[1], flush=True)
"""
WARNING = re.compile(r"crashenv: PYDEBUG: [ -~]*; (ignored|crash output is off)\n")
STDERR = re.compile(r'Traceback [^\n]+\n  File "<string>", line \d+, in <module>\n.*boom\n', re.S)

KEYS = (
    "crashfd crashfile crashthreads crashtraceback crashtimeout crashlimit crashsignal crash crashx"
    " CRASHFD other verbose"
)
NUMBERS = "0 1 2 3 4 5 6 7 8 99 1000 -1 007 3.5 1e3 1K 2M 1G 99999999999999999999999 0x3 \u0663"
NAMES = "report fatal ignore single all USR2 SIGUSR1 KILL SEGV RTMIN usr1 @name @ @a:b 3:1:2 3:: ::"
PATHS = (
    "crash.log ./a/../b missing/c . .. sub %p.log %t-%e-%h.log %% %x % %%p a%p%p \u00fc\U0001f600"
    " /dev/null /dev/full /dev/stderr /dev/fd/4 /dev/fd/99 /nowhere/x /dev/tty /proc/self/mem"
    " \udc80"
)
ALL = [*NUMBERS.split(), *NAMES.split(), *PATHS.split(), "", " "]
LIKELY = {
    "crashfd": list("1234567"),
    "crashfile": PATHS.split(),
    "crashthreads": ["report", "fatal", "ignore"],
    "crashtraceback": ["single", "all"],
    "crashtimeout": ["0", "0.5", "5", ".1", "999999999"],
    "crashlimit": ["1K", "1024", "64k", "10M", "999999M"],
    "crashsignal": ["USR1", "SIGUSR2", "rtmin", "CHLD", "QUIT"],
}


def case(seed: int) -> str:
    """Return a PYDEBUG text, always the same for the same seed."""
    rng = random.Random(seed)
    items = []
    for _ in range(rng.choice((1, 1, 2, 3, 5, 40))):
        key = rng.choice(KEYS.split())
        if key in LIKELY and rng.random() < 0.7:
            items.append(key + "=" + rng.choice(LIKELY[key]))
            continue
        equals = rng.choice(("=", "=", "=", " = ", "", "=="))
        items.append(key + equals + "".join(rng.choices(ALL, k=rng.choice((1, 1, 1, 2)))))
    text = rng.choice((",", ",", ", ", ",,")).join(items)
    for _ in range(rng.choice((0, 0, 1, 5))):  # damage
        where = rng.randrange(len(text) + 1)
        inserted = chr(rng.choice((rng.randrange(1, 128), rng.randrange(0xDC80, 0xDD00), 0xE9)))
        text = text[:where] + inserted + text[where + rng.randrange(2) :]
    if rng.random() < 0.01:
        text += "x" * rng.randrange(120_000)
    return os.fsdecode(text.encode("utf-8", "surrogateescape" if _escapes(text) else "replace"))


def _escapes(text: str) -> bool:
    return not any(0xD800 <= ord(c) < 0xDC80 or 0xDCFF < ord(c) < 0xE000 for c in text)


class Fuzzer:
    """An interpreter that starts the cases in its own folder."""

    def __enter__(self) -> Fuzzer:
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        (self.folder / "work" / "sub").mkdir(parents=True)
        args = command(["-c", PROGRAM, str(self.folder), str(ROOT / "src")])
        passed = {fd: str(self.folder / ("passed%d" % fd)) for fd in PASSED}

        def open_passed() -> None:
            for fd, path in passed.items():
                own = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                if own != fd:
                    os.dup2(own, fd)
                    os.close(own)
                os.set_inheritable(fd, True)

        self._process = subprocess.Popen(
            args,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(PYTHONPATH=""),
            cwd=self.folder / "work",
            close_fds=False,
            preexec_fn=open_passed,
            start_new_session=True,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._folder.cleanup()

    def check(self, text: str) -> str | None:
        """Return what is wrong; None if nothing is."""
        for path in self._files():
            if path.parent.name == "work":
                path.unlink()
            else:
                path.write_bytes(b"")
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(os.fsencode(text).hex().encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], DEADLINE)[0]:
            return "hangs"
        status = int(self._process.stdout.readline())
        if status != 1 << 8:
            return "wait status %d" % status
        return self._wrong_texts()

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def _wrong_texts(self) -> str | None:
        reports = 0
        for path in self._files():
            try:
                found, outside = split(path.read_bytes())
            except (AssertionError, UnicodeDecodeError, ValueError) as error:
                return "%s: %s" % (path.name, error)
            reports += len(found)
            text = outside.decode()
            if path.name == "stderr":
                text = WARNING.sub("", text, count=1)
                expected = STDERR.fullmatch(text) is not None
            else:
                expected = text == ("hello\n" if path.name == "stdout" else "")
            if not expected:
                return "%s: %r" % (path.name, outside)
        return "%d reports" % reports if reports > 1 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000, help="how many (20000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case (0)")
    options = parser.parse_args()
    wrong = 0
    with Fuzzer() as fuzzer:
        for seed in range(options.seed, options.seed + options.cases):
            problem = fuzzer.check(case(seed))
            if problem is not None:
                wrong += 1
                print("seed %d: %s\n  PYDEBUG=%r" % (seed, problem, case(seed)[:500]), flush=True)
    print("%d cases, %d differ" % (options.cases, wrong))
    return 1 if wrong or not options.cases else 0


if __name__ == "__main__":
    sys.exit(main())
