"""crashenv: every crash of a Python program, on one more descriptor or file.

``PYDEBUG=crashfd=3 python app.py 3>crash.log`` needs no code. From code:

    import crashenv
    crashenv.set_crash_output(open("crash.log", "a"))

Below the public names stands the start, which every watched process pays for: from the
variable to the descriptor, and from there to the hooks. It is not a module of its own,
because a second file costs a start 1.1 %; it is short, because its code is unmarshalled
at each start; and no name in it leads to ``os``, which a hook would keep alive until the
interpreter has cleared its 300 names one by one (1 % of a start). What it cannot do is
done by ``_seldom``, and at a crash by ``_crash``.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crashenv._api import activate, set_crash_output
    from crashenv._listening import Pipe, Reader, read
    from crashenv._loghandler import LogHandler
    from crashenv._seldom.family import note
    from crashenv._starting import start_monitor

__all__ = (
    "LogHandler",
    "Pipe",
    "Reader",
    "activate",
    "note",
    "read",
    "set_crash_output",
    "start_monitor",
)
__version__ = "0.1.0"

# Public names by module, imported when they are asked for (PEP 562).
_PUBLIC = {
    "LogHandler": "_loghandler",
    "Pipe": "_listening",
    "Reader": "_listening",
    "activate": "_api",
    "note": "_seldom.family",
    "read": "_listening",
    "set_crash_output": "_api",
    "start_monitor": "_starting",
}

# "python -m trace" shows what a module does whose globals have a __file__.
_FILE = __file__
del __file__

# What the hooks, ``_crash`` and ``_seldom`` have in common:
#
# output    the crash output, see ``_seldom.outputs``; None if there is none
# hold      the code of _wire, _crash and _crash_rare; names: the namespace it is executed in
# taken     functions as they were at the start, whatever the program does to modules later
# lock      of writing, and of the output; guard: of taps, the streams that are read along
# faults    faulthandler's own functions; "asked": whether the program enabled it; "ours" and
#           "theirs": the signals that register() was called for
# genuine   threading's own excepthook, of each time that it was loaded
# reported  id() of the exception that was reported; stored: of one that is no crash
_Namespace: "Any" = type(sys.implementation)  # types.SimpleNamespace
_state: "Any" = _Namespace(output=None, hold=None, names=(), genuine=())
_started = False


if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> "Any":
        if name == "__file__":
            return _FILE
        if name not in _PUBLIC:
            raise AttributeError("module %r has no attribute %r" % (__name__, name))
        module = "crashenv." + _PUBLIC[name]
        __import__(module)
        found = globals()[name] = getattr(sys.modules[module], name)
        return found


def __dir__() -> "list[str]":
    return list(__all__)


def _start(is_implicit: bool = True) -> None:
    """What the ``.pth`` line and ``sitecustomize`` call. It may raise anything.

    A lone ``crashfd=N`` or ``crashfd=N:DEV:INO`` of a pipe or a disk's file is adopted
    here, all else by ``_seldom.activation``.
    """
    global _started
    if _started or (is_implicit and sys.flags.ignore_environment):
        return  # a virtual environment up to 3.14 runs every .pth line twice
    _started = True
    os = sys.modules["os"]
    environ = os.environ
    variable = "CRASHENV" if "CRASHENV" in environ else "PYDEBUG"
    text = environ.get(variable, "")
    number, _, known = text[8:].partition(":")
    try:
        source = fd = int(number)
        status = os.fstat(fd)
        kind, identity = status[0] >> 12, (status[2], status[1])
        item = "%d:%d" % identity
        simple = text.startswith("crashfd=") and number == str(fd) and os.name == "posix"
        if os.getuid() != os.geteuid() or os.getgid() != os.getegid():
            simple = False
        if not known:
            known, simple = item, simple and os.get_inheritable(fd)
        elif known != item and (not known.startswith(item + ":/") or "," in known):
            simple = False
        if simple:
            os.write(fd, b"")  # EBADF if it is not open for writing (write(2))
        if simple and kind == 1:
            # Opening a pipe again (proc(5)) gives an open file description of our own,
            # whose O_NONBLOCK the parent does not share.
            fd = os.open("/proc/self/fd/" + number, os.O_WRONLY | os.O_NONBLOCK)
            simple = os.fstat(fd)[1:3] == status[1:3]
        elif kind != 8 or status[2] < 256:  # a disk has a major number
            simple = False
        # High up, where ordinary opens do not land even after a closerange(). Another
        # thread could open a number between fstat() and dup2(): it is taken in one step there.
        if sys.modules["_thread"]._count():
            simple = False
        high = min(os.sysconf("SC_OPEN_MAX"), 4096)
        while simple:
            high -= 1
            try:
                simple = os.fstat(high)[1:3] != status[1:3]  # as in a sub-interpreter
            except OSError:
                break
        if simple:
            os.dup2(fd, high, False)
        if fd != source:
            os.close(fd)
        try:
            directory = os.getcwd()
        except OSError:  # it was removed
            directory = ""
    except (AttributeError, OSError, OverflowError, ValueError):
        simple = False
    if simple:
        output = _Namespace(
            fd=high, source=source, identity=identity, dumps=high, directory=directory,
            timeout=5.0, limit=1 << 20, threads="report", traceback="single", signal=0, tags=(),
            wait=None, deliver=None, reopen=None, forked=None, at_exit=None, is_plain=True,
        )  # fmt: skip
        _use(_state, output)
        environ[variable] = "crashfd=%s:%s" % (number, known)
    elif "crash" in text:
        from crashenv._seldom import activation

        activation.activate(sys.modules[__name__], variable)


def _use(state: "Any", output: "Any", is_main: bool = True) -> None:
    """Report to ``output`` from now on; the first time, hold what a crash needs and hook in.

    At a crash there may be no path, no descriptor and no memory left to load it.
    """
    os = sys.modules["os"]
    if state.hold is None:
        import _thread
        from _frozen_importlib_external import MAGIC_NUMBER
        from _weakref import ref
        from marshal import loads

        state.hold, folder = [], _FILE[:-11]
        for name in ("_wire", "_crash", "_crash_rare"):
            cached = "%s__pycache__/%s.%s.pyc" % (folder, name, sys.implementation.cache_tag)
            try:
                fd = os.open(cached, os.O_RDONLY)
                code = os.read(fd, 1 << 20)
                os.close(fd)
                status = os.stat(folder + name + ".py")
                stamp = status[8].to_bytes(4, "little") + status[6].to_bytes(4, "little")
            except (OSError, OverflowError):
                code = stamp = b""
            if sys.flags.optimize or code[:16] != MAGIC_NUMBER + b"\0\0\0\0" + stamp:
                from crashenv._seldom import code as from_loader

                code = from_loader.of(__spec__, name)
            state.hold.append(code)
        state.use, state.loads, state.exec, state.exc_info = _use, loads, exec, sys.exc_info
        state.names_for, state.least = _names, _report_least
        state.reported = state.stored = state.progress = state.forking = 0
        state.taps, state.may_import, state.awaits_forks = {}, True, False
        state.lock, state.guard = _thread.allocate_lock(), _thread.allocate_lock()
        time = sys.modules["time"]
        state.taken = {
            "fstat": os.fstat, "write": os.write, "getpid": os.getpid, "lseek": os.lseek,
            "lockf": getattr(os, "lockf", None), "F_TLOCK": 2, "F_ULOCK": 0,  # unistd.h
            "monotonic": time.monotonic, "sleep": time.sleep, "time_ns": time.time_ns,
            "_count": _thread._count, "get_ident": _thread.get_ident,
            "get_native_id": getattr(_thread, "get_native_id", _thread.get_ident),  # WebAssembly
            "allocate_lock": _thread.allocate_lock,
        }  # fmt: skip
        stub = _stub
        # Both names: exceptiongroup, code and others compare the one with the other.
        hook = stub("excepthook", sys.__excepthook__)
        if sys.excepthook is sys.__excepthook__:
            sys.excepthook = hook
        sys.__excepthook__ = state.excepthook = hook
        hook = stub("unraisablehook", sys.__unraisablehook__)
        if sys.unraisablehook is sys.__unraisablehook__:
            sys.unraisablehook = hook
        sys.__unraisablehook__ = hook
        state.stub = stub
        if hasattr(sys, "last_traceback") or sys.implementation.name != "cpython":
            import atexit

            atexit.register(stub("at_exit", None))
        else:
            # It goes away when the interpreter stores an uncaught exception there.
            sentinel: set[int] = set()
            sys.last_traceback = sentinel  # type: ignore[assignment]
            state.sentinel = ref(sentinel, stub("before_hook", None))
        # multiprocessing's modules are seen to arrive at no cost for other imports: what an
        # entry of sys.meta_path costs each import pays, but a folder's finder is its own.
        # Its copies are where this package was installed.
        state.finder = finder = _Namespace(find_spec=stub("find_spec", None))
        cache, site = sys.path_importer_cache, _FILE[:-20]
        cache.setdefault(site + "multiprocess", finder)
        cache.setdefault(site + "billiard", finder)
        folder = getattr(os, "__file__", "os.py")[:-5] + "multiprocessing"
        if cache.setdefault(folder, finder) is not finder:
            from crashenv._seldom import workers

            workers.patch(state)
            workers.watch(state, cache[folder])
        # threading calls it, as its last step, when it is loaded, again and elsewhere too.
        module, name = os, "register_at_fork"
        if hasattr(os, name):
            os.register_at_fork(after_in_child=stub("forked", None))
        else:
            module, name = _thread, "_set_sentinel"
            if sys.version_info >= (3, 13):
                name = "_get_main_thread_ident"
        setattr(module, name, stub(name, getattr(module, name)))
        if "threading" in sys.modules:
            _patch_threading(state, vars(sys.modules["threading"]))
        state.faults = {}
        if is_main:  # elsewhere faulthandler would point at an interpreter that goes away
            try:
                import faulthandler
            except ImportError:  # some builds have none
                own: dict[str, Any] = {}
            else:
                own = vars(faulthandler)
                state.faults = faults = {"asked": own["is_enabled"](), "ours": (), "theirs": ()}
            for name in ("enable", "disable", "is_enabled", "register", "unregister"):
                if name in own:
                    faults[name], own[name] = own[name], stub(name, None)
    state.output, faults = output, state.faults
    if faults and output is not None and output.dumps >= 0:
        _signal: Any = __import__("_signal")  # PyPy has not loaded it yet
        # It has one descriptor; where the program wants it for itself, it gets it.
        try:
            if not faults["asked"]:
                faults["enable"](output.dumps)
            register, ours, theirs = faults["register"], faults["ours"], faults["theirs"]
            # Their default action dumps core, and enable() leaves them out (signal(7)).
            for name in ("SIGQUIT", "SIGSYS", "SIGTRAP", "SIGXCPU"):
                signum = getattr(_signal, name)
                if signum not in theirs and (signum in ours or not _signal.getsignal(signum)):
                    # chain: the default action follows; the killing signal stays the same
                    register(signum, output.dumps, True, signum != output.signal)
                    ours = (*ours, signum)
            if output.signal:
                register(output.signal, output.dumps, True, False)
                ours = (*ours, output.signal)
            faults["ours"] = ours
        except (AttributeError, KeyError, OSError, RuntimeError, ValueError):
            pass  # Windows has no register(), and none of these signals


def _stub(entry: str, original: "Any") -> "Any":
    """What the interpreter calls. It looks whether there is anything to do, and for whom.

    With defaults in place of a closure: fewer objects that the garbage collector counts.
    """

    def call(
        *args: "Any", _entry: str = entry, _original: "Any" = original, **kwargs: "Any"
    ) -> "Any":
        entry, state, value = _entry, _state, None
        if entry == "excepthook":
            value = args[1] if args[2:] else None
        elif entry == "invoke":
            value = state.exc_info()[1]
        elif entry == "store":
            args[0].__dict__["_invoke_excepthook"] = args[1]
            return None
        elif entry == "unraisablehook":
            message = getattr(args[0], "err_msg", None) if args else None
            if type(message) is str and message.startswith("Exception ignored in thread "):
                value = args[0].exc_value
        elif entry == "before_hook" or entry == "at_exit":
            if entry == "at_exit" or sys.__dict__.get("excepthook") is not state.excepthook:
                value = sys.__dict__.get("last_value")
        elif entry == "forked":
            value = state.output
            if "multiprocess" in sys.modules or "billiard" in sys.modules:
                try:
                    from crashenv._seldom import workers

                    workers.patch(state)
                except Exception:  # a damaged installation
                    pass
            if not state.names and value is not None and value.forked is None:
                try:
                    status = state.taken["fstat"](value.fd)
                    if (status[2], status[1]) == value.identity:
                        return None
                except OSError:
                    pass
        elif entry == "register_at_fork" or entry[0] == "_":  # see below
            names = getattr(kwargs.get("after_in_child"), "__globals__", None)
            if names is None:
                names = getattr(sys.modules.get("threading"), "__dict__", {})
            if names.get(entry) is call:  # a copy, which each thread would call
                names[entry] = _original
            _patch_threading(state, names)
        elif entry == "find_spec":
            return _find_spec(state, *args)
        else:  # the program calls faulthandler
            try:
                from crashenv._seldom.faults import call as function
            except Exception:  # a damaged installation
                return state.faults[entry](*args, **kwargs)
            return function(state, entry, *args, **kwargs)
        if value is not None and state.output is not None:
            names = _names(state, entry)
            if names is not None:
                return names[entry](_original, *args)
            _report_least(state, entry, value)
        if entry == "invoke":
            return args[0].__dict__["_invoke_excepthook"]
        return None if _original is None else _original(*args, **kwargs)

    return call


def _find_spec(state: "Any", name: str, target: "Any" = None) -> "Any":
    """The first search in a package's folder: from now on its own finder searches."""
    for folder in sys.modules[name.rpartition(".")[0]].__path__:
        if sys.path_importer_cache.get(folder) is state.finder:
            for hook in sys.path_hooks:
                try:
                    finder = hook(folder)
                except ImportError:
                    continue
                sys.path_importer_cache[folder] = finder
                try:
                    from crashenv._seldom import workers

                    workers.watch(state, finder)
                except Exception:  # a damaged installation
                    pass
                return finder.find_spec(name, target)
    return None


def _patch_threading(state: "Any", names: "dict[str, Any]") -> None:
    """``Thread._invoke_excepthook`` becomes a property, see ``_crash_rare.invoke``.

    ``names`` are threading's, or those of another module, or of one half loaded.
    """
    thread: Any = names.get("Thread")
    if "_MainThread" not in names or not hasattr(thread, "_bootstrap_inner"):
        return
    if not isinstance(vars(thread).get("_invoke_excepthook"), property):
        # From 3.10 on; before, only what is there when we come can be the genuine one.
        state.genuine += (names.get("__excepthook__", names["excepthook"]),)
        replaced = property(_stub("invoke", None), _stub("store", None))
        thread._invoke_excepthook = replaced


def _names(state: "Any", entry: str) -> "Any":
    """The namespace with ``entry`` in it; None where the code cannot be executed any more.

    Two threads may make one at once: all that changes is in ``state``.
    """

    try:
        names = state.names
        if entry not in names:
            names = {**state.taken, "state": state, "sys": sys}
            # The last names of each file: one that a full disk left empty has none.
            for code, last in zip(state.hold, ("timestamp", "unlock_record", "is_open")):
                if entry not in names:
                    code = state.loads(code[16:]) if code.__class__ is bytes else code
                    state.exec(code, names)
                    names[last]
            state.names = names
        return names
    except BaseException:  # no memory, an audit hook that raises, builtins that are gone
        return None


def _report_least(state: "Any", entry: str, value: "Any") -> None:
    """Without ``_crash``: that there was a crash, and of what."""
    try:
        output, taken = state.output, state.taken
        status = taken["fstat"](output.fd)
        kind = "thread" if entry == "invoke" or entry == "unraisablehook" else "exception"
        is_crash = kind == "thread" or value is sys.__dict__.get("last_value")
        if is_crash and (status[2], status[1]) == output.identity:
            body = ("%s: %s\n" % (value.__class__.__name__, value)).encode("utf-8", "replace")
            begin = "crashenv: report kind=%s pid=%d bytes=%d\n"
            begin %= kind, taken["getpid"](), body.__len__()
            taken["write"](output.fd, begin.encode("ascii") + body)
    except BaseException:
        pass
