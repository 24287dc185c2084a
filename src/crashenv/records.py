"""The type of a record, schema 1, of which ``crashenv parse`` prints one per line.

This is only for type checkers: nothing imports it at run time. Readers ignore keys that
they do not know; removing a key, or changing its meaning, requires schema 2.
"""

from typing import Optional, TypedDict


class StackFrame(TypedDict):
    """``columns`` are the first marked character of ``source`` and the one after the last.

    They count from 0, in the first and in the last marked line. ``repeated`` is how many
    more times the same frame occurred.
    """

    file: str
    line: Optional[int]
    function: str
    source: Optional[str]
    columns: Optional[list[int]]
    repeated: int


class Location(TypedDict):
    """Where a SyntaxError is."""

    file: str
    line: Optional[int]
    text: Optional[str]
    columns: Optional[list[int]]


class Exception_(TypedDict):
    """``omitted`` exceptions of its chain or of its group are not shown."""

    type: Optional[str]
    message: str
    notes: list[str]
    frames: list[StackFrame]
    syntax: Optional[Location]
    cause: "Optional[Exception_]"
    context: "Optional[Exception_]"
    exceptions: "list[Exception_]"
    omitted: int


class Thread(TypedDict):
    """``frames`` has the most recent call first, as in the text."""

    id: Optional[str]
    name: Optional[str]
    current: bool
    frames: list[StackFrame]


class CFrame(TypedDict):
    file: str
    symbol: Optional[str]
    offset: Optional[str]
    address: Optional[str]


class Dump(TypedDict):
    """``signal`` is the name of the signal in ``reason``."""

    reason: Optional[str]
    signal: Optional[str]
    threads: list[Thread]
    c_stack: list[CFrame]
    extension_modules: list[str]


class Ending(TypedDict):
    """How the monitor's program ended. Times are in seconds, ``peak_memory`` in bytes.

    ``peak_memory`` is never below the monitor's own, because the program is forked from it.
    ``oom_kills`` are the processes of the cgroup that the OOM killer has killed meanwhile and
    that no earlier record counts. ``cgroup_peak`` and ``cgroup_limit`` are bytes of the
    cgroup's memory, None if the kernel has no such number, or there is no limit. For a
    descendant, ``peak_memory`` is None, and so are times and status if they are unknown.
    """

    status: Optional[int]
    signal: Optional[str]
    core: bool
    run_time: float
    user_time: Optional[float]
    system_time: Optional[float]
    peak_memory: Optional[int]
    oom_kills: Optional[int]
    cgroup_peak: Optional[int]
    cgroup_limit: Optional[int]


class Record(TypedDict, total=False):
    """``process`` is a worker's name, ``tags`` are those of ``crashtags``.

    ``kind`` is ``"exception"``, ``"thread"`` or ``"process"`` for a report, ``"death"`` for
    a death that a monitor saw, ``"dump"`` for faulthandler's text, ``"traceback"`` for a
    traceback in a log without a header. ``resource`` is where the program ran, with
    OpenTelemetry's names, such as ``host.name``.
    """

    schema: int
    id: str
    kind: str
    time: Optional[str]
    pid: Optional[int]
    tid: Optional[int]
    thread: Optional[str]
    process: Optional[str]
    python: Optional[str]
    program: Optional[str]
    damage: Optional[str]
    omitted: int
    fingerprint: str
    summary: str
    where: Optional[str]
    header: dict[str, str]
    tags: dict[str, str]
    exception: Optional[Exception_]
    threads: list[Thread]
    dump: Optional[Dump]
    text: str
    # only from a monitor
    command: list[str]
    ending: Ending
    stderr: str
    lost: int
    parent: int
    last_words: str
    release: str
    environment: str
    resource: dict[str, str]
