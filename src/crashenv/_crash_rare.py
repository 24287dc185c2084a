"""The second half of the code for a crash: threads, displaced hooks, hostile values, waits.

It is executed in the namespace of ``_crash`` when it is needed. Three rules hold. If our own
code fails, the report loses detail, but is still written, and the program does not notice.
Every wait is bounded by time and by count, and no lock is taken that may be locked in a
forked child. No reference to an exception is kept: its frames, and the objects in them,
would live longer than without us.
"""

if "":  # for type checkers
    from crashenv._crash import (
        LAST,
        NOT_CRASHES,
        OUTERMOST,
        SMALL_LIMIT,
        describe,
        message_lines,
        unlock_record,
    )
    from crashenv._held import *

# Shared by threads that crash at the same time. Each may execute this; the first one counts.
share = vars(state).setdefault
share("lock", allocate_lock())  # held while writing, and to change the output
share("guard", allocate_lock())  # protects taps, the streams whose writes are copied
share("taps", {})
share("stored", 0)  # id() of an exception that is not a crash
share("progress", 0)
share("forking", 0)
share("may_import", True)
share("awaits_forks", False)
PAUSE = 0.005  # seconds between two tries of a full pipe or of a record lock
PATIENCE = 1.0  # seconds to wait for a lock while its holder makes no progress
GUARD_PATIENCE = 0.1  # seconds; it is held for microseconds, unless a handler interrupts
ROUNDS = 1_000_000  # of any loop, because a clock may stand still
CHUNK = 1 << 16
PIPE_BUF = 4096 if sys.platform == "linux" else 512  # bytes that do not block after poll(2)
OWN_FRAMES = 60  # more than 10, see change_limit
PYQT = {"PyQt5.QtCore", "PyQt6.QtCore"}
PROMPTS = ("<stdin", "<console", "<python-input")  # a number may follow
MOST_LEAVES = 10_000  # of a group
MOST_NOTES = 50  # that are counted: their sizes must fit into a value of the header
MOST_FRAMES = 100  # of a thread, as in faulthandler's dumps
MOST_CHAINED = 100
MOST_LINES = 1_000_000
SLICE = 1 << 16  # characters that are encoded at once
OMISSION_ROOM = len(OMISSION) + 20
FRAME = '  File "'
CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


def loaded(name: str) -> "Any":
    """Return a module; None if it is not loaded.

    In a free-threaded 3.13, ``get`` takes the lock of ``sys.modules``. If it is passed on to a
    daemon thread that the interpreter's end has stopped, the end waits for it for ever.
    """
    try:
        return sys.modules[name]
    except KeyError:
        return None


# The attributes' own getters, which a hostile class or metaclass cannot replace.
type_name: "Any" = vars(type)["__name__"].__get__
traceback_of = BaseException.__dict__["__traceback__"].__get__
cause_of = BaseException.__dict__["__cause__"].__get__
context_of = BaseException.__dict__["__context__"].__get__
is_suppressed = BaseException.__dict__["__suppress_context__"].__get__
# Without an import, which a program may forbid.
posix: "Any" = loaded("posix") or loaded("nt")
signals: "Any" = loaded("_signal")
# Our writes can raise these signals: no reader, RLIMIT_FSIZE, a background job's terminal.
# They end or stop a program that restored their default action.
WRITE_SIGNALS: "set[int]" = set()
if hasattr(signals, "pthread_sigmask"):
    WRITE_SIGNALS = {signals.SIGPIPE, signals.SIGXFSZ, signals.SIGTTOU}


# --- the main thread


def excepthook(
    original: "Any",
    kind: "type[BaseException]",
    value: "BaseException",
    traceback: "TracebackType | None",
) -> None:
    """The code for ``sys.excepthook``, instead of the first half's."""
    room = make_room()
    crash = is_crash(value, traceback)
    reading = start_reading() if crash else None
    change_limit(3 - room)
    try:
        call(original, kind, value, traceback)
    finally:
        change_limit(room - 3)
        if crash:
            report("exception", value, stop_reading(reading))
        change_limit(-room)


def before_hook(original: "Any", reference: "Any") -> None:
    """Called when something is stored in ``sys.last_traceback`` for the first time.

    PyErr_PrintEx stores an uncaught exception there before it looks up
    ``sys.excepthook``. A hook of the program may end the process, and so may everything
    that follows, so the exception for such a hook is reported now.
    """
    try:
        value: Any = getattr(sys, LAST, None)  # code stores it after the traceback (3.13)
        if is_crash(value, sys.last_traceback):
            report("exception", value, None)
        else:
            state.stored = id(value)
            __import__("atexit").register(state.stub("at_exit", None))
    except BaseException:  # it would be printed as an ignored exception
        pass


def at_exit(original: "Any") -> None:
    """Report an exception that ``before_hook``, which is called only once, did not see."""
    try:
        value = getattr(sys, LAST, None)
        if value is None or id(value) == state.stored:
            return
        if getattr(sys, "excepthook", None) is state.excepthook:
            return  # the hook has seen it, if it was a crash
        traceback = sys.last_traceback
        if traceback is not None and not hasattr(traceback, "tb_frame"):
            traceback = traceback_of(value)  # PyPy stores what a property of the program returns
        if traceback is None:
            was_handled = not issubclass(type(value), SyntaxError)
        else:
            was_handled = is_going_on(traceback.tb_frame)
        if was_handled:
            return  # and stored for a debugger
        if is_crash(value, traceback):
            report("exception", value, None)
    except BaseException:  # it would be printed
        pass


def is_going_on(frame: "FrameType") -> bool:
    """Return whether the program went on after an exception, of which ``frame`` is the outermost.

    It has a caller, or its last instruction was to return.
    """
    back = frame.f_back
    if back is not None and not back.f_code.co_filename.startswith("<builtin>"):  # PyPy's main
        return True
    last = frame.f_code.co_code[frame.f_lasti] if frame.f_lasti >= 0 else None
    # 3.12 and 3.13 have an instruction of its own for constants.
    return last in [f.__code__.co_code[-2] for f in (lambda: None, lambda value: value)]


def is_of_main(frame: "FrameType") -> bool:
    """Return whether it is one of the main module, which may have changed its name."""
    names = frame.f_globals
    main = loaded("__main__")
    return names.get("__name__") in OUTERMOST or names is getattr(main, "__dict__", None)


def is_crash(value: "BaseException", traceback: "TracebackType | None") -> bool:
    """Return whether the main thread has died of ``value``; called from the start's stub.

    Any code may call a hook, programs store exceptions that they handled for a debugger,
    and C code prints some and goes on. But only if the main thread has died, there is no
    Python frame below ours. In a server in C, such as uWSGI, there is none either: there
    the outermost frame is not one of the main module.
    """
    try:
        if state.output is None or value is None or value is not getattr(sys, LAST, None):
            return False
        if id(value) == state.reported or is_exit(value):
            return False
        if is_called_by_program():
            # PyQt prints the exception of a slot and aborts, unless there is another hook.
            hook = getattr(sys, "excepthook", None)
            if hook is not state.excepthook or not PYQT & sys.modules.keys():
                return False
        elif traceback is not None:
            if not is_of_main(traceback.tb_frame):
                return False
        if hasattr(sys, "ps1") and at_prompt(value, traceback):
            return False
    except BaseException:  # an audit hook that raises: one report too many is better
        pass
    state.reported = id(value)
    return True


def pass_on(function: "Any", *args: "Any") -> None:
    function(*args)


# The interpreter's hooks import io or traceback by the __builtins__ of the frame that calls them
# (PyImport_Import). Ours are a copy, and the program may have replaced __import__.
call: "Any" = pass_on
call = type(call)(call.__code__, {"__builtins__": state.use.__globals__["__builtins__"]})


def is_called_by_program() -> bool:
    """Return whether there are frames below ours, which are those of this file and the stub."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("state", frame.f_globals) is state:
        frame = frame.f_back
    if frame is not None and frame.f_globals.get("_state") is state:
        frame = frame.f_back
    # PyPy's hook is called by a Python function.
    return frame is not None and not frame.f_code.co_filename.startswith("<builtin>")


def is_exit(value: "BaseException") -> bool:
    """Return whether it ends a program or a thread on purpose, as may a group of these."""
    kind = type(value)
    if issubclass(kind, NOT_CRASHES):  # isinstance() would ask value.__class__
        return True
    return type_name(kind).endswith("Group") and is_exit_group(value)


def at_prompt(value: "BaseException", traceback: "Any") -> bool:
    if traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
    else:
        name = getattr(value, "filename", None) if isinstance(value, SyntaxError) else None
    return type(name) is str and name.startswith(PROMPTS)


def is_exit_group(value: "BaseException") -> bool:
    """Return whether it is a group whose only leaves are SystemExit and KeyboardInterrupt.

    trio and anyio wrap a Ctrl-C in one.
    """
    groups, leaves = [value], 0
    for _ in range(MOST_LEAVES):
        if not groups:
            return leaves > 0
        group = groups.pop()
        members = BaseException.__getattribute__(group, "exceptions")
        if type(members) is not tuple:
            return False
        for member in members:
            if issubclass(type(member), NOT_CRASHES):
                leaves += 1
            elif type_name(type(member)).endswith("Group"):
                groups.append(member)
            else:
                return False
    return False


# --- other threads


def unraisablehook(original: "Any", unraisable: "sys.UnraisableHookArgs") -> None:
    """The code for ``sys.unraisablehook``, which gets the exception of a raw thread."""
    value, output = unraisable.exc_value, state.output
    if value is None or output.threads == "ignore" or is_exit(value):
        call(original, unraisable)
        return
    message = str(unraisable.err_msg or "")
    reading = start_reading()
    try:
        call(original, unraisable)
    finally:
        if unraisable.object is None:  # from 3.13 on: "... <function load at 0x7f...>"
            name = message.partition("<function ")[2].partition(" at ")[0]
        else:
            name = getattr(unraisable.object, "__qualname__", "")
        name = name if type(name) is str else ""
        heading = message and message + ":\n"
        report("thread", value, stop_reading(reading), heading, name)
        if output.threads == "fatal":
            exit_now()


def invoke(original: "Any", thread: "Any") -> "Any":
    """The getter of ``Thread._invoke_excepthook``.

    ``Thread.__init__`` stores the function that calls ``threading.excepthook`` in the
    instance, and ``_bootstrap_inner`` calls it while the exception is being handled, on
    every version from 3.8 on. A property takes precedence over the instance's attribute, also
    for threads that exist already and for subclasses. An exception for another hook is
    reported here, so no frame of ours is on the stack when the hook is called.
    """
    call_hook = object.__getattribute__(thread, "__dict__")["_invoke_excepthook"]
    output, value = state.output, state.exc_info()[1]
    if output is None or value is None or output.threads == "ignore":
        return call_hook
    room = make_room()
    try:
        names = {}
        try:
            frame = state.exc_info()[2].tb_frame
            names = frame.f_globals
            if frame.f_code.co_name != "_bootstrap_inner":
                return call_hook
        except Exception:  # an audit hook that raises
            pass
        if is_exit(value):
            return call_hook
        hook = names["excepthook"] if "excepthook" in names else state.genuine[0]
        if any(hook is genuine for genuine in state.genuine) and can_be_read():
            return crash_of_thread.__get__(call_hook)  # a bound method has no frame
        name = name_of(thread)
        report("thread", value, None, "Exception in thread %s:\n" % name, name)
        if output.threads == "fatal":
            return fatal_crash.__get__(call_hook)
    except BaseException:
        pass
    finally:
        change_limit(-room)
    return call_hook


def fatal_crash(call_hook: "Callable[[Any], None]", thread: "Any") -> None:
    call_hook(thread)
    exit_now()


def crash_of_thread(call_hook: "Callable[[Any], None]", thread: "Any") -> None:
    """Let the default hook print the exception, and report it."""
    value: Any = state.exc_info()[1]
    room = make_room()
    reading = start_reading()
    change_limit(2 - room)
    try:
        call_hook(thread)
    finally:
        change_limit(room - 2)
        name = name_of(thread)
        heading = "Exception in thread %s:\n" % name
        report("thread", value, stop_reading(reading), heading, name)
        change_limit(-room)
        if state.output is not None and state.output.threads == "fatal":
            exit_now()


def exit_now() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    posix._exit(1)


def name_of(thread: "Any") -> str:
    try:
        return str(thread.name)
    except BaseException:
        return ""


def current_thread_name() -> str:
    try:
        thread = sys.modules["threading"]._active.get(get_ident())
    except BaseException:
        thread = None
    return "MainThread" if thread is None else name_of(thread)


# --- a worker of multiprocessing


def worker(module: "Any", process: "Any", name: "Any", is_silent: bool = False) -> None:
    """Report the exception that ``BaseProcess._bootstrap`` of ``module`` is going to print.

    Only while ``_bootstrap`` handles it, the traceback begins there. If ``is_silent``, it
    could not print the exception, and another one, which says why, is being handled.
    """
    room = make_room()
    try:
        handled: Any = state.exc_info()[1]
        frame = state.exc_info()[2].tb_frame
        if frame.f_code.co_name != "_bootstrap" or frame.f_globals is not vars(module):
            return
        # billiard asks for the name twice; the other exception may leave the main thread.
        is_new = id(handled) != state.reported
        value: Any = context_of(handled) if is_silent else handled
        if module._current_process is process and is_new and not is_exit(value):
            state.reported = id(handled)
            report("process", value, None, "Process %s:\n" % name, process=str(name))
    except BaseException:
        pass
    finally:
        change_limit(-room)


def worker_in_silence(module: "Any") -> None:
    process = module._current_process
    worker(module, process, getattr(process, "_name", ""), True)


# --- a copy of what is printed


def can_be_read() -> bool:
    """Return whether ``write`` of ``sys.stderr`` is in C: in Python it could see its callers.

    A ``__getattr__`` may return another stream to each thread.
    """
    try:
        stream: Any = sys.stderr
        if id(stream) in state.taps:
            return True
        return hasattr(type(stream), "write") and is_of_c(stream.write)
    except BaseException:  # stderr is None, or no ordinary stream
        return False


def is_of_c(function: "Any") -> bool:
    code = getattr(function, "__code__", None)
    if code is None:
        return type(function) is type(fstat)
    return type(code) is not type(is_of_c.__code__)  # PyPy's functions all have one


def start_reading() -> "Any":
    """Start to copy what this thread writes to ``sys.stderr``; return None if that fails.

    The hooks of the interpreter, in C and in Python, look ``write`` up on the object in
    ``sys.stderr``, where an entry of the instance's ``__dict__`` takes precedence over the
    method. So the report gets the same bytes, and the program's ``__str__`` methods do not
    run a second time.
    """
    ident = get_ident()
    try:
        stream: Any = sys.stderr
        if not can_be_read():
            return None
        attributes = stream.__dict__
        if not state.guard.acquire(True, GUARD_PATIENCE):  # its holder was interrupted by a handler
            return None
        try:
            tap = state.taps.get(id(stream))
            if tap is None:
                readers: dict[int, Any] = {}
                copying = copier(stream.write, readers)
                tap = readers, attributes, attributes.get("write", state.taps)
                attributes["write"] = copying
                if stream.write is not copying:
                    attributes.pop("write")
                    return None
                state.taps[id(stream)] = tap
            previous = tap[0].get(ident)
            parts: list[Any] = []
            tap[0][ident] = parts
            return id(stream), ident, parts, previous
        finally:
            state.guard.release()
    except BaseException:  # stderr is None, or no ordinary stream
        return None


def copier(write: "Callable[[str], Any]", readers: "dict[int, Any]") -> "Callable[[str], Any]":
    def copying_write(text: str, /) -> "Any":
        parts = readers.get(get_ident())
        if parts is None:
            return write(text)
        try:
            # First, because our copy may take the memory that this needs.
            written = write(text)
        except BaseException:
            parts.append(None)
            raise
        try:
            parts.append(text)
        except BaseException:  # no memory
            parts.clear()
        return written

    return copying_write


def stop_reading(reading: "Any") -> "list[str] | None":
    """Return what was written; None if the copy is incomplete."""
    if reading is None:
        return None
    try:
        key, ident, parts, previous = reading
        if state.guard.acquire(True, GUARD_PATIENCE):
            try:
                readers, attributes, before = state.taps[key]
                readers.pop(ident, None)
                if previous is not None:
                    readers[ident] = previous
                if not readers:
                    del state.taps[key]
                    if before is state.taps:
                        attributes.pop("write", None)
                    else:
                        attributes["write"] = before
            finally:
                state.guard.release()
        return None if not parts or None in parts else parts
    except BaseException:
        return None


# --- the report


def report(
    kind: str,
    value: "BaseException",
    parts: "list[str] | None",
    heading: str = "",
    thread: "str | None" = None,
    process: "str | None" = None,
) -> None:
    """Write a report of ``value``; ``parts`` is the printed text, if it is known.

    ``heading`` is the text before the traceback. Nothing is raised.
    """
    output = state.output
    if output is None or output.fd is None:
        return
    try:
        fields = describe(kind, current_thread_name() if thread is None else thread, output)
        if process is not None:
            fields.append(("process", process))
        try:
            data = whole(output, fields, value, parts, heading)
        except BaseException:  # a report with less detail is better than none
            data = whole(output, fields, value, minimal(heading, value), heading)
    except BaseException:  # no memory, builtins that are gone
        state.least(state, "excepthook" if kind == "exception" else "invoke", value)
    else:
        deliver(output, data)


def whole(
    output: "Any",
    fields: "list[tuple[str, str]]",
    value: "BaseException",
    parts: "list[str] | None",
    heading: str,
) -> bytes:
    """Return the report, at most ``limit`` bytes. This may raise any exception."""
    kind = type_name(type(value))
    if parts is not None and is_coloured(parts):
        parts = None
    if parts is None:
        parts = formatted(heading, value)
    if not any(kind in part[:SLICE] for part in parts):
        # The interpreter writes what it cannot print past sys.stderr (_PyObject_Dump).
        parts.append(kind + "\n")
    fields = list(fields)
    lines = message_lines(parts, kind)
    if lines:
        fields.append(("message", str(lines)))
    notes = lines_of_notes(value)
    if notes:
        fields.append(("notes", notes))
    fields += output.tags
    if output.traceback == "all":
        parts += other_stacks()
    longest = min(LONGEST_VALUE, output.limit // 4)
    room = output.limit - len(header(fields, output.limit, longest))
    body = fit(parts, room)
    return header(fields, len(body), longest) + body


def minimal(heading: str, value: "BaseException") -> "list[str]":
    """Return a traceback without source lines and causes, if there is nothing better."""
    lines = [heading, "Traceback (most recent call last):\n"]
    try:
        traceback = traceback_of(value)
        for _ in range(1000):
            if traceback is None:
                break
            code = traceback.tb_frame.f_code
            where = (code.co_filename, traceback.tb_lineno, code.co_name)
            lines.append('  File "%s", line %d, in %s\n' % where)
            traceback = traceback.tb_next
    except BaseException:  # an audit hook that raises
        pass
    if len(lines) == 2:
        lines.pop()
    kind = type_name(type(value))
    try:
        message = str(value)
    except BaseException:
        message = "<exception str() failed>"
    lines.append("%s: %s\n" % (kind, message) if message else kind + "\n")
    return lines


# --- writing


def deliver(output: "Any", data: bytes) -> None:
    """Write ``data``, or what a reader accepts within ``timeout`` seconds. Ignore all errors.

    Without the locks in time, write what fits.
    """
    try:
        if output.deliver is not None:
            output.deliver(data)
            return
        deadline = monotonic() + output.timeout
        locked = take_lock(deadline)
        try:
            if output.fd is None:  # closed: another one has replaced it meanwhile
                output = state.output
            descriptor = None if output is None else current_descriptor(output)
            if descriptor is not None:
                write_all(descriptor, data, deadline, output.wait)
        finally:
            if locked:
                state.lock.release()
    except BaseException:  # the file is closed, full or broken
        pass


def take_lock(deadline: float) -> bool:
    """Wait for ``lock`` while its holder makes progress; we may have interrupted the holder."""
    seen = -1
    for _ in range(ROUNDS):
        if state.lock.acquire(True, max(0.0, min(PATIENCE, deadline - monotonic()))):
            return True
        if seen == state.progress or monotonic() >= deadline:
            break
        seen = state.progress
    return False


def current_descriptor(output: "Any") -> "int | None":
    """Return the descriptor to write to; None if the file is lost."""
    if output.fd is None:
        return None
    if output.reopen is not None:  # a crashfile: its path counts
        output.reopen(output)
    elif not is_current(output):
        duplicate(output)
    return output.fd if is_current(output) else None


def is_current(output: "Any") -> bool:
    """Return whether our descriptor still is the crash output: it may have been closed."""
    try:
        status = fstat(output.fd)
        return bool((status[2], status[1]) == output.identity)
    except (OSError, OverflowError, TypeError):
        return False


def write_all(descriptor: int, data: bytes, deadline: float, wait: "Any" = None) -> None:
    """Write all before ``deadline``; ``wait`` returns whether a write will not block.

    Raises OSError.
    """
    blocked = block_signals()
    locked = False
    try:
        locked = lock_record(descriptor, deadline)
        start, size = 0, CHUNK if wait is None else PIPE_BUF
        for _ in range(ROUNDS):
            if start >= len(data):
                break
            if wait is not None and not wait(descriptor, deadline - monotonic()):
                break
            try:
                start += write(descriptor, data[start : start + size])
                state.progress += 1
            except BlockingIOError:
                if monotonic() >= deadline:
                    break
                sleep(PAUSE)
    finally:
        if locked:
            unlock_record(descriptor)
        if blocked is not None:
            unblock_signals(*blocked)


def block_signals() -> "tuple[Any, Any] | None":
    """Block the signals of our writes; return the mask before, and the pending signals."""
    if not WRITE_SIGNALS:
        return None
    try:
        pending = signals.sigpending()
        return signals.pthread_sigmask(signals.SIG_BLOCK, WRITE_SIGNALS), pending
    except BaseException:  # the program replaced the functions
        return None


def unblock_signals(mask: "Any", pending: "Any") -> None:
    ours = WRITE_SIGNALS - pending - mask
    for _ in ours:
        if not ours & signals.sigpending():
            break
        signals.sigwait(ours & signals.sigpending())  # pending, so it returns at once
    signals.pthread_sigmask(signals.SIG_SETMASK, mask)


def lock_record(descriptor: int, deadline: float) -> bool:
    """Take the POSIX record lock (lockf(3)), which also excludes forked processes.

    A lock of flock(2) belongs to the open file description, which they share.
    """
    for _ in range(ROUNDS):
        try:
            lockf(descriptor, F_TLOCK, 0)  # from the position to infinity: any two overlap
            return True
        except (BlockingIOError, PermissionError):
            if monotonic() >= deadline:
                return False
            sleep(PAUSE)
        except BaseException:  # locks are not supported; an audit hook that raises
            return False
    return False


# --- small limits, forks


def make_room() -> int:
    """Raise a small recursion limit by our own frames, which would be noticed otherwise.

    Return by how many.
    """
    try:
        if sys.getrecursionlimit() >= SMALL_LIMIT:
            return 0
    except BaseException:  # the program replaced the function
        return 0
    change_limit(OWN_FRAMES)
    return OWN_FRAMES


def change_limit(by: int) -> None:
    """Change the limit, but not if ``make_room`` did not: ``by`` is small then."""
    if -5 <= by <= 5:
        return
    try:
        sys.setrecursionlimit(sys.getrecursionlimit() + by)
    except BaseException:  # the stack is deeper by now
        pass


def before_fork() -> None:
    """Make sure that no other thread is changing ``state.taps`` and the objects in it.

    In a free-threaded build each dict has its own lock, which would be locked in the child.
    """
    if state.guard.acquire(True, GUARD_PATIENCE):
        state.forking = get_ident()


def after_fork_in_parent() -> None:
    if state.forking == get_ident():
        state.forking = 0
        state.guard.release()


def forked(original: "Any") -> None:
    """In a forked child, replace the locks: a thread that has not survived may hold one."""
    state.may_import = False
    state.lock, state.guard = allocate_lock(), allocate_lock()
    try:
        for readers, _, _ in state.taps.values():
            for ident in list(readers):
                if ident != get_ident():
                    del readers[ident]
        output, faults = state.output, state.faults
        if output is None or output.fd is None:
            return
        if output.forked is not None:
            output.forked(output)
        if current_descriptor(output) is None and faults and not faults["asked"]:
            faults["disable"]()  # no dump is better than one in another file
    except BaseException:  # it would be printed as an ignored exception
        pass


if hasattr(posix, "register_at_fork") and not state.awaits_forks:
    state.awaits_forks = True
    posix.register_at_fork(before=before_fork, after_in_parent=after_fork_in_parent)


# --- describing


def is_coloured(parts: "list[str]") -> bool:
    """Return whether the interpreter printed in colour, as from 3.13 on to a terminal."""
    colorize = loaded("_colorize")
    if colorize is None or not any("\033[" in part for part in parts):
        return False
    try:
        return bool(colorize.can_colorize(file=sys.stderr))
    except TypeError:  # 3.13.0, which looks at standard output
        return bool(colorize.can_colorize())


def formatted(heading: str, value: "BaseException") -> "list[str]":
    """Return what the default hook prints: by ``traceback`` if it is loaded, else by ourselves.

    It may be imported only if no other thread is alive: if another thread forks meanwhile,
    the import lock is locked in its child.
    """
    try:
        module = loaded("traceback")
        if module is None or getattr(module.__spec__, "_initializing", False):
            if not state.may_import or _count():
                return [heading, *chain_of(value)]
            module = load_traceback()
        traceback = traceback_of(value)
        return [heading, *module.format_exception(type(value), value, traceback)]
    except BaseException:  # imports are forbidden, or the exception is hostile
        return [heading, *chain_of(value)]


def load_traceback() -> "Any":
    """Import it from the standard library: the program may have a ``traceback`` or ``token``."""
    path = sys.path
    folder = slashes(sys.modules["os"].__file__).rpartition("/")[0]
    sys.path = [entry for entry in path if slashes(entry).startswith(folder)]
    try:
        module = __import__("traceback")
        if sys.version_info >= (3, 11):  # it imports them when it formats
            __import__("tokenize"), __import__("ast")
        return module
    finally:
        sys.path = path


def slashes(path: "Any") -> str:
    return path.replace("\\", "/") if type(path) is str else ""


def chain_of(value: "BaseException | None") -> "list[str]":
    """Return the exception with its causes and contexts, in the interpreter's layout."""
    texts: list[list[str]] = []
    seen: set[int] = set()
    while value is not None and id(value) not in seen and len(seen) < MOST_CHAINED:
        seen.add(id(value))
        texts.append(exception_lines(value))
        cause, context = cause_of(value), context_of(value)
        link = CAUSED if cause is not None else DURING
        value = cause if cause is not None or is_suppressed(value) else context
        texts.append([link])
    return [line for text in reversed(texts[:-1]) for line in text]


def exception_lines(value: "BaseException") -> "list[str]":
    lines = minimal("", value)
    return [line + source_of(line) if line.startswith(FRAME) else line for line in lines]


def source_of(line: str) -> str:
    """Return the source of a frame's line, indented; empty if it cannot be read."""
    try:
        name, _, rest = line[len(FRAME) :].rpartition('", line ')
        number = int(rest.partition(",")[0])
        with open(name, "rb") as file:
            for _ in range(min(number, MOST_LINES) - 1):
                file.readline()
            source = file.readline().decode("utf-8", "replace").strip()
        return "    %s\n" % source if source else ""
    except BaseException:
        return ""


def lines_of_notes(value: "BaseException") -> str:
    """Return the header's ``notes``; empty if there are none, or if they are hidden."""
    try:
        notes = BaseException.__getattribute__(value, "__dict__").get("__notes__")
        if type(notes) is not list or len(notes) > MOST_NOTES:
            return ""
        return ",".join([str(str.count(note, "\n") + 1) for note in notes])
    except (AttributeError, TypeError):  # notes that are not strings
        return ""


def other_stacks() -> "list[str]":
    """Return the stacks of all other threads, in faulthandler's layout."""
    threads = dict(getattr(loaded("threading"), "_active", {}))
    parts = []
    for ident, frame in sys._current_frames().items():
        if ident != get_ident():
            name = " [%s]" % name_of(threads[ident]) if ident in threads else ""
            parts.append("\nThread 0x%016x%s (most recent call first):\n" % (ident, name))
            parts += lines_of_stack(frame)
    return parts


def lines_of_stack(frame: "FrameType | None") -> "Iterator[str]":
    for _ in range(MOST_FRAMES):
        if frame is None:
            return
        code = frame.f_code
        where = (code.co_filename, frame.f_lineno or 0, code.co_name)
        yield '  File "%s", line %d in %s\n' % where
        frame = frame.f_back
    yield "  ...\n"


def fit(parts: "list[str]", room: int) -> bytes:
    """Return at most ``room`` bytes, with a newline at the end and the middle left out.

    Work in slices, so that a message of 100 MB does not need another 100 MB.
    """
    head: list[bytes] = []
    tail: list[bytes] = []
    half = (room - OMISSION_ROOM) // 2
    left, kept, total = room, 0, 0
    for part in parts:
        for start in range(0, len(part), SLICE):
            data = part[start : start + SLICE].encode("utf-8", "backslashreplace")
            total += len(data)
            head.append(data[:left])
            left -= len(head[-1])
            tail.append(data)
            kept += len(data)
            if kept > half + SLICE * 4:
                tail = [b"".join(tail)[-half:]]
                kept = half
    end = b"" if tail and tail[-1].endswith(b"\n") else b"\n"
    begin = b"".join(head)
    if total + len(end) <= room:
        return begin + end
    begin = whole_head(begin[:half])
    rest = whole_tail(b"".join(tail)[-half:])
    return begin + OMISSION % (total - len(begin) - len(rest)) + rest + end


def whole_head(data: bytes) -> bytes:
    """Return ``data`` without a cut UTF-8 sequence at its end (RFC 3629, section 3)."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:
            length = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return data if length <= back else data[:-back]
        if byte < 0x80:
            break
    return data


def whole_tail(data: bytes) -> bytes:
    """Return ``data`` without a cut UTF-8 sequence at its beginning."""
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:]


# --- a lost descriptor of the crash output


def duplicate(output: "Any") -> None:
    """Make a new private copy of the descriptor that was passed, if it is still that file.

    Raise OSError.
    """
    status = fstat(output.source)
    if (status[2], status[1]) != output.identity:
        return
    opened = output.source
    if status[0] & 0o170000 == 0o010000:
        flags = posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC
        opened = posix.open("/proc/self/fd/%d" % opened, flags)
    before = output.fd
    try:
        output.fd = dup_high(opened)
    finally:
        if opened != output.source:
            posix.close(opened)
    if output.dumps == before:
        output.dumps = output.fd
        state.use(state, output)


def dup_high(descriptor: int) -> int:
    """Return a close-on-exec copy with a number that ordinary opens do not reach.

    Raise OSError. fcntl(2) finds and takes a free number in one step; if the module is not
    loaded, only a thread that opens thousands of files could take it in between.
    """
    fcntl = loaded("fcntl")
    number = min(posix.sysconf("SC_OPEN_MAX"), 4096) - 1
    for _ in range(20):
        if not is_open(number):
            if fcntl is None:
                return int(posix.dup2(descriptor, number, False))
            command = getattr(fcntl, "F_DUPFD_CLOEXEC", 1030)  # of Linux; PyPy has no name for it
            return int(fcntl.fcntl(descriptor, command, number))
        number -= 1
    return int(posix.dup(descriptor))


def is_open(descriptor: int) -> bool:
    try:
        fstat(descriptor)
    except OSError:
        return False
    return True
