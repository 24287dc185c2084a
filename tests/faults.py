"""Make each system call that PYDEBUG causes fail, one at a time, with each plausible error.

    python tests/faults.py [--every N] [--jobs N] [SCENARIO...]

Each scenario runs under strace(1) without PYDEBUG and with it. The calls that only
the second run makes are ours: the start and the crash path. Then each of them is
made to fail once with each possible error (``strace -e inject=``), and
stdout, stderr and status must be those of the run without PYDEBUG; the one line
of warning about a wrong PYDEBUG is allowed. The exit status is 1 if any run differs.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import difflib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.driver import DEADLINE, CrashOutput, Result, environment, run

WARNING = re.compile(r"crashenv: PYDEBUG: [^\n]*\n")
RAW_THREAD = """
import _thread, time
begun = []
def crash():
    begun.append(True)
    raise ValueError('boom')
_thread.start_new_thread(crash, ())
while not begun or _thread._count(): time.sleep(0.01)
"""
SEGV = "import os; os.kill(os.getpid(), 11)"


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    source: str
    pydebug: str = "crashfd={fd}"
    options: tuple[str, ...] = ()


SCENARIOS = (
    Scenario("exception", "raise ValueError('boom')"),
    Scenario("all stacks", "raise ValueError('boom')", "crashfd={fd},crashtraceback=all"),
    Scenario("file", "raise ValueError('boom')", "crashfile={folder}/%e.log"),
    Scenario("own file", "pass", "crashfile={folder}/%p.log"),
    Scenario("displaced", "import sys; sys.excepthook = lambda *args: print('mine')\n1/0"),
    Scenario("fatal signal", SEGV),
    Scenario("raw thread", RAW_THREAD),
    Scenario("shared", SEGV, options=("-X", "faulthandler")),
    Scenario("wrong setting", "print('hello')", "crashfd=99,crashlimit=0"),
    Scenario("clean exit", "import threading, multiprocessing.util; print('hello')"),
)

OPEN = "EACCES EINTR EIO ELOOP EMFILE ENFILE ENOENT ENOMEM ENOSPC EPERM EROFS"
# No EBADF: for an open descriptor it would be wrong, and a dup2 over it would be right.
STAT = "EACCES EINTR EIO ENOENT ENOMEM EOVERFLOW"
ERRORS = {
    "clone": "EAGAIN ENOMEM EPERM",
    "close": "EBADF EINTR EIO",
    "dup": "EBADF EMFILE",
    "dup2": "EBADF EBUSY EINTR EMFILE",
    "dup3": "EBADF EBUSY EINTR EMFILE",
    "fcntl": "EACCES EAGAIN EBADF EDEADLK EINTR EINVAL ENOLCK EPERM",
    "fstat": STAT,
    "getcwd": "EACCES ENOENT ENOMEM",
    "getdents64": "EBADF EIO ENOENT ENOTDIR",
    "ioctl": "EBADF EINTR EINVAL EIO ENOTTY",
    "lseek": "EBADF EINVAL EOVERFLOW ESPIPE",
    "lstat": STAT,
    "newfstatat": STAT,
    "open": OPEN,
    "openat": OPEN,
    "pipe2": "EMFILE ENFILE ENOMEM",
    "poll": "EFAULT EINTR EINVAL ENOMEM",
    "flock": "EBADF EINTR EINVAL ENOLCK EAGAIN",
    "ppoll": "EFAULT EINTR EINVAL ENOMEM",
    "read": "EAGAIN EBADF EINTR EIO EISDIR",
    "readlink": "EACCES EINVAL EIO ENOENT",
    "rt_sigaction": "EINVAL",
    "rt_sigpending": "EFAULT",
    "rt_sigprocmask": "EINVAL",
    "rt_sigtimedwait": "EAGAIN EINTR EINVAL",
    "sigaltstack": "ENOMEM EPERM",
    "stat": STAT,
    "uname": "EFAULT",
    "unlink": "EACCES EBUSY EIO ENOENT EPERM EROFS",
    "vfork": "EAGAIN ENOMEM",
    "wait4": "ECHILD EINTR EINVAL",
    "waitid": "ECHILD EINTR EINVAL",
    "write": "EAGAIN EBADF EDQUOT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE",
}
# They cannot fail, or their failure means that the interpreter has no memory.
NOT_FAILED = (
    "brk clock_gettime clock_nanosleep clone3 execve exit exit_group futex getegid geteuid getgid"
    " getpid getrandom gettid getuid madvise mmap mprotect mremap munmap prlimit64 rseq"
    " rt_sigreturn sched_yield set_robust_list set_tid_address arch_prctl tgkill kill tkill"
    " sched_getaffinity prctl"
)


@dataclasses.dataclass(frozen=True)
class Fault:
    call: str
    count: int  # which of these calls, from 1 on
    error: str
    text: str


def interpreter(scenario: Scenario) -> list[str]:
    return [*scenario.options, "-c", scenario.source]


def run_once(scenario: Scenario, launcher: Sequence[str], *, on: bool) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        crash = CrashOutput("pipe")
        # The same calls in the same order every time.
        env = environment(PYTHONHASHSEED="0")
        if on:
            env["PYDEBUG"] = scenario.pydebug.format(fd=crash.passed, folder=folder)
        passed = [crash.passed]
        try:
            return run(interpreter(scenario), launcher=launcher, env=env, pass_fds=passed)
        finally:
            crash.finish()


def traced(scenario: Scenario, *, on: bool) -> list[str]:
    """Return the calls of the main thread, in order, as strace prints them."""
    with tempfile.NamedTemporaryFile() as log:
        run_once(scenario, ["strace", "-qq", "-o", log.name], on=on)
        return log.read().decode(errors="replace").splitlines()


def comparable(line: str) -> str:
    """Remove what differs from run to run, and where faulthandler's text goes."""
    call = line.rpartition(" = ")[0].rstrip()
    return re.sub(r"0x[0-9a-f]+|\d{3,}|\{.*|tmp\w+|(?<=^write\()\d+|(?<=/fd/)\d+", "", call)


def name_of(line: str) -> str:
    """Return the call and its file; other arguments may be results."""
    found = re.match(r'\w+\((AT_FDCWD, "[^"]+")?', comparable(line))
    return line if found is None else found.group()


def own_calls(scenario: Scenario) -> list[tuple[str, int, str]]:
    """Return ``(call, its count, text)`` of each call that PYDEBUG causes."""
    without = [comparable(line) for line in traced(scenario, on=False)]
    lines = traced(scenario, on=True)
    texts = [comparable(line) for line in lines]
    more = collections.Counter(texts)
    more.subtract(without)
    matcher = difflib.SequenceMatcher(None, without, texts, False)
    ours: set[int] = set()
    for tag, _, _, start, end in matcher.get_opcodes():
        if tag in ("insert", "replace"):
            ours.update(range(start, end))
    counts: collections.Counter[str] = collections.Counter()
    found = []
    for index, line in enumerate(lines):
        call = line.partition("(")[0]
        counts[call] += 1
        is_ours = index in ours and more[texts[index]] > 0
        if is_ours and call not in NOT_FAILED.split() and "(" in line:
            found.append((call, counts[call], line))
    return found


def faults(scenario: Scenario) -> Iterator[Fault]:
    for call, count, text in own_calls(scenario):
        if call not in ERRORS:
            raise SystemExit("no errors are known of: " + text)
        if call == "rt_sigaction" and "SIG_DFL" in text:
            # It cannot fail, and faulthandler, also without crashenv, would raise and handle the
            # signal for ever.
            continue
        for error in ERRORS[call].split():
            yield Fault(call, count, error, text)


def difference(scenario: Scenario, fault: Fault, expected: Result) -> str | None:
    """Return what a user would notice of the fault; None if nothing."""
    inject = "inject=%s:error=%s:when=%d" % (fault.call, fault.error, fault.count)
    with tempfile.NamedTemporaryFile() as log:
        launcher = ["strace", "-qq", "-o", log.name, "-e", "trace=" + fault.call, "-e", inject]
        try:
            result = run_once(scenario, launcher, on=True)
        except Exception as error:
            return "%s\n%s" % (fault, error)
        failed = [x for x in log.read().decode(errors="replace").splitlines() if "INJECTED" in x]
    if [name_of(line) for line in failed] != [name_of(fault.text)]:
        return "%s: %s\nhit another call: %s" % (scenario.name, fault, failed)
    status, stdout, stderr = result.ending()
    stderr = WARNING.sub("", stderr, count=1)
    if (status, stdout, stderr) == expected.ending():
        return None
    return "%s: %s\nexpected %s\n%s" % (scenario.name, fault, expected.ending(), result)


def main() -> int:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(names))
    parser.add_argument("--every", type=int, default=1, help="try every Nth fault only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    options = parser.parse_args()
    if shutil.which("strace") is None:
        parser.error("needs strace(1)")
    total = 0
    differences: list[str] = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for scenario in SCENARIOS:
            if options.scenarios and scenario.name not in options.scenarios:
                continue
            run_once(scenario, (), on=True)  # to write the caches
            expected = run_once(scenario, (), on=False)
            chosen = list(faults(scenario))[:: options.every]
            total += len(chosen)
            futures = [pool.submit(difference, scenario, fault, expected) for fault in chosen]
            found = [text for text in (each.result(DEADLINE * 60) for each in futures) if text]
            differences += found
            print("%s: %d faults, %d differences" % (scenario.name, len(chosen), len(found)))
            sys.stdout.flush()
    for text in differences:
        print("\n" + text)
    print("%d faults injected, %d differences" % (total, len(differences)))
    return 1 if differences or not total else 0


if __name__ == "__main__":
    sys.exit(main())
