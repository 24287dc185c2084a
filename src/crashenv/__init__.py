"""crashenv: every crash of a Python program, also on an extra descriptor or file.

``PYDEBUG=crashfd=3 python app.py 3>crash.log`` needs no code. From code:

    import crashenv
    crashenv.set_crash_output(open("crash.log", "a"))

This module also contains the start, which runs in every watched process: it adopts the
descriptor that the variable names, and installs the hooks. It is not a separate module,
because finding a second file costs a start 1.1 %. Its code is unmarshalled at each start, so it
is short, and has comments in place of docstrings and annotations, and ``__init__.pyi`` for type
checkers (0.15 % of a start). No name in it refers to ``os``, which the hooks would keep alive
until the interpreter clears its 300 names one by one (1 %). Everything else is in ``_seldom``
and ``_hooks`` and, for a crash, in ``_crash``.
"""

import sys

if "":  # for mypy; the compiler drops it, and TYPE_CHECKING would cost a start 0.05 %
    from typing import Any  # noqa: F401

__version__ = "0.1.0"

# "python -m trace" shows what a module does whose globals have a __file__.
_FILE = __file__
del __file__

# The state that the hooks, _crash and _seldom share:
#
# output    the crash output, see _seldom.outputs; None if there is none
# hold      the code that is executed later, by file name; names: the namespaces in which it
#           was executed, by file names
# taken     functions as they were at the start; the program may replace them later
# faults    faulthandler's own functions; "asked": whether the program enabled it; "ours" and
#           "theirs": the signals registered by crashenv and by the program
# genuine   threading's own excepthook, once for each time threading was loaded
#
# _crash adds more.
_Namespace = type(sys.implementation)  # type: Any # types.SimpleNamespace
if "_state" not in globals():  # the hooks must not lose it by importlib.reload()
    _state = _Namespace(output=None, hold=None, names={})


def _attribute(name=""):
    # type: (str) -> Any
    # The module's __getattr__ and, without a name, its __dir__ (PEP 562). The .pth line imports
    # the name _on, because a call would take longer to compile (0.1 % of a start).
    if name == "_on":
        return _start()
    if name == "__file__":
        return _FILE
    if name[:1] == "_" and name != "__all__":  # such as a module that is about to be imported
        raise AttributeError(name)
    import crashenv._seldom.public as public

    return public.attribute(globals(), name)


__getattr__ = __dir__ = _attribute


def _start(is_implicit=True):
    # type: (bool) -> None
    # Start, as the .pth line and sitecustomize do. It adopts a single crashfd=N or
    # crashfd=N:DEV:INO that is a pipe or a file on disk; _seldom.activation does everything
    # else. It may raise anything.
    names = globals()
    if "_on" in names or (is_implicit and sys.flags.ignore_environment):
        return
    names["_on"] = None  # up to 3.14, a virtual environment runs every .pth line twice
    os = __import__("os")  # an agent may have emptied sys.modules
    environ = os.environ
    variable = "CRASHENV" if "CRASHENV" in environ else "PYDEBUG"
    text = environ.get(variable, "")
    number, _, known = text[8:].partition(":")
    try:
        source = fd = int(number)
        status = os.fstat(fd)
        kind, identity = status[0] >> 12, (status[2], status[1])
        item = str(status[2]) + ":" + str(status[1])
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
            # Reopening a pipe (proc(5)) gives a separate open file description, whose
            # O_NONBLOCK the parent does not share.
            fd = os.open("/proc/self/fd/" + number, os.O_WRONLY | os.O_NONBLOCK)
            simple = os.fstat(fd)[1:3] == status[1:3]
        elif kind != 8 or status[2] < 256:  # a disk has a major number
            simple = False
        # A high number, which ordinary opens do not get even after a closerange(). Another
        # thread could open it between fstat() and dup2(); with threads, _seldom uses one step.
        if __import__("_thread")._count():
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
        environ[variable] = "crashfd=" + number + ":" + known
    elif "crash" in text:
        import crashenv._seldom.activation as activation

        activation.activate(sys.modules[__name__], variable)


def _use(state, output, is_main=True):
    # type: (Any, Any, bool) -> None
    # Report to output from now on; the first time, load what is needed and hook in.
    global _prepare
    if state.hold is None:
        _prepare(state, is_main)
        del _prepare
    state.output, faults = output, state.faults
    if not faults or output is None or output.dumps < 0:
        return
    _signal = __import__("_signal")  # PyPy has not loaded it yet
    # faulthandler has one descriptor. If the program enabled it, the program's is used.
    try:
        if not faults["asked"]:
            faults["enable"](output.dumps)
        register, ours = faults["register"], faults["ours"]
        # Their default action dumps core, and enable() leaves them out (signal(7)).
        for name in ("SIGQUIT", "SIGSYS", "SIGTRAP", "SIGXCPU"):
            signum = getattr(_signal, name)
            is_free = signum in ours or not _signal.getsignal(signum)
            if is_free and signum not in faults["theirs"]:
                # chain: the default action follows; the killing signal stays the same
                register(signum, output.dumps, True, signum != output.signal)
                ours = (*ours, signum)
        if output.signal:
            register(output.signal, output.dumps, True, False)
            ours = (*ours, output.signal)
        faults["ours"] = ours
    except Exception:  # Windows has no register(), and none of these signals
        pass


def _prepare(state, is_main):
    # type: (Any, bool) -> None
    # Load what is needed later, and put the stubs where the interpreter, and what is imported
    # later, looks them up. No "from": it looks for __path__ in vain, 10,000 instructions.
    import _frozen_importlib_external
    import _imp
    import _thread
    import _weakref
    import marshal
    import time

    # --- code: at a crash there may be no path, no descriptor and no memory left to load it
    os, cache = __import__("os"), sys.path_importer_cache
    folder, suffix = _FILE[:-11], "." + str(sys.implementation.cache_tag) + ".pyc"
    magic = _frozen_importlib_external.MAGIC_NUMBER + b"\0\0\0\0"
    hold = {}
    for name in ("_hooks", "_wire", "_crash", "_crash_rare"):
        try:
            fd = os.open(folder + "__pycache__/" + name + suffix, os.O_RDONLY)
            code = os.read(fd, 1 << 20)
            os.close(fd)
            status = os.stat(folder + name + ".py")
            stamp = status[8].to_bytes(4, "little") + status[6].to_bytes(4, "little")
        except (OSError, OverflowError):
            code = stamp = b""
        if sys.flags.optimize or code[:16] != magic + stamp:
            import crashenv._seldom.code as from_loader

            code = from_loader.of(__spec__, name)
        hold[name] = code

    # --- functions
    state.use, state.loads, state.exec, state.exc_info = _use, marshal.loads, exec, sys.exc_info
    state.names_for, state.least, state.stub = _names, _report_least, _stub
    state.taken = {
        "fstat": os.fstat, "write": os.write, "getpid": os.getpid, "lseek": os.lseek,
        "lockf": getattr(os, "lockf", None), "F_TLOCK": 2, "F_ULOCK": 0,  # unistd.h
        "monotonic": time.monotonic, "sleep": time.sleep, "time_ns": time.time_ns,
        "_count": _thread._count, "get_ident": _thread.get_ident,
        "get_native_id": getattr(_thread, "get_native_id", _thread.get_ident),  # WebAssembly
        "allocate_lock": _thread.allocate_lock,
        "__builtins__": vars(__import__("builtins")).copy(),
    }  # fmt: skip
    # Only now: if an audit hook refused a file, set_crash_output() tries again.
    state.hold, state.faults = hold, {}

    # --- sys: both names, because exceptiongroup, code and others compare the two
    original = sys.__excepthook__  # type: Any
    hook = sys.__excepthook__ = state.excepthook = _stub("excepthook", original)
    if sys.excepthook is original:
        sys.excepthook = hook
    original = sys.__unraisablehook__
    hook = sys.__unraisablehook__ = state.unraisablehook = _stub("unraisablehook", original)
    if sys.unraisablehook is original:
        sys.unraisablehook = hook

    # --- multiprocessing: a finder for its folder alone notices when its modules are imported.
    # An entry in sys.meta_path would cost every import. Its copies, multiprocess and billiard,
    # are where this module was installed.
    state.finder = finder = _Namespace(find_spec=_stub("find_spec", None))
    cache.setdefault(_FILE[:-20] + "multiprocess", finder)
    cache.setdefault(_FILE[:-20] + "billiard", finder)
    found = cache.setdefault(getattr(os, "__file__", "os.py")[:-5] + "multiprocessing", finder)

    # --- the end: the sentinel is freed when the interpreter stores an uncaught exception there
    is_first = "last_traceback" not in vars(sys)
    if is_first:
        sentinel = set()  # type: set[int]
        sys.last_traceback = sentinel  # type: ignore[assignment]
        state.sentinel = _weakref.ref(sentinel, _stub("before_hook", None))

    # --- fork and threading, which calls register_at_fork in the last step of its loading, also
    # if it is loaded again. From 3.11 on, a registered function keeps this namespace until the
    # interpreter's last garbage collection, 0.15 % of a start. Before 3.11 it is never freed.
    own = vars(os)
    has_fork = "register_at_fork" in own
    if has_fork:
        forked = state.forked = _stub("forked", None)
        if sys.version_info >= (3, 11):
            forked = _weakref.proxy(forked)
        os.register_at_fork(after_in_child=forked)
        own["register_at_fork"] = _stub("register_at_fork", os.register_at_fork)
    is_cpython = sys.implementation.name == "cpython"
    is_usual = has_fork and is_first and is_cpython
    if not is_usual or found is not finder or "threading" in sys.modules:
        import crashenv._seldom.present as present

        present.hook_in(state, is_first)

    # --- faulthandler: it must not refer to a sub-interpreter, which may end. Created as by an
    # import, without its search (0.2 % of a start). _hooks.provide() provides its functions
    # when the program looks there (PEP 562).
    if not is_main:
        return
    name = "faulthandler"
    module = sys.modules.get(name)  # type: Any
    if not module and is_cpython and _imp.is_builtin(name) > 0:
        loader = sys.__loader__  # type: Any
        spec = type(sys.__spec__)(name, loader, origin="built-in")
        module = _imp.create_builtin(spec)
        module.__spec__, module.__loader__, module.__package__ = spec, loader, ""
        sys.modules[name] = module
        _imp.exec_builtin(module)
    try:
        module = module or __import__(name)
    except ImportError:  # some builds have none
        return
    # A Ctrl-C must not leave the module without them.
    own, functions = vars(module), ("enable", "disable", "is_enabled", "register", "unregister")
    # PyPy's getsignal() does not know what was inherited; present does.
    theirs = () if is_cpython else state.ignored
    faults = {"module": module, "ours": (), "theirs": theirs}  # type: dict[str, Any]
    for name in functions:
        if name in own:
            faults[name] = own[name]
    faults["asked"] = faults["is_enabled"]()
    state.faults = faults
    own["__getattr__"] = own["__dir__"] = _stub("provide", None)
    for name in functions:
        own.pop(name, None)


def _stub(entry, original):
    # type: (str, Any) -> Any
    # Return a function for the interpreter to call in place of the original. It executes the
    # code in _hooks or _crash. Its defaults replace a closure, which would be more objects for
    # the garbage collector.
    def call(*args, _entry=entry, _original=original, **kwargs):
        # type: (Any, str, Any, Any) -> Any
        if _entry == "excepthook":
            if args[2:] and args[1] is not None and _state.output is not None:
                names = _names(_state, _entry)
                if names is not None:
                    return names[_entry](_original, *args)
                _report_least(_state, _entry, args[1])
        else:
            if _entry == "before_hook":
                # None when the interpreter ends; missing if the program stores a traceback first.
                if sys.__dict__.get("last_value", _state) is None:
                    return None
                is_displaced = sys.__dict__.get("excepthook") is not _state.excepthook
                try:
                    if not is_displaced and sys._getframe().f_back is None:
                        return None
                except Exception:  # an audit hook that raises
                    return None
            try:
                names = _names(_state, _entry, ("_hooks",))
                if names is not None:
                    return names[_entry](_original, *args, **kwargs)
            except RecursionError:
                if _entry != "forked":  # which would be printed
                    raise
                return None
            if _entry == "provide":
                faults = _state.faults
                module = faults["module"]
                for name in faults:
                    if callable(faults[name]):
                        setattr(module, name, faults[name])
                del module.__getattr__, module.__dir__
                return getattr(module, *args) if args else dir(module)
            if args:
                _report_least(_state, _entry, None, args[0])
            if _entry == "invoke":
                return args[0].__dict__["_invoke_excepthook"]
        return None if _original is None else _original(*args, **kwargs)

    return call


def _names(state, entry, files=("_wire", "_crash", "_crash_rare")):
    # type: (Any, str, Any) -> Any
    # Return the namespace that has the entry; None if its code cannot be executed any more. Two
    # threads may each make one, because everything that changes is in the state. Except at a
    # crash, a KeyboardInterrupt and the like are raised.
    try:
        # A free-threaded 3.13 locks a dict for get() and for a new value; a child that is forked
        # by another thread at that moment would find it locked for ever.
        known = files in state.names
        names = state.names[files] if known else {**state.taken, "state": state, "sys": sys}
        for name in files:
            if entry not in names:
                code = state.hold[name]
                state.exec(state.loads(code[16:]) if code.__class__ is bytes else code, names)
        names[entry]
        if not known:
            state.names[files] = names
        return names
    except Exception:  # no memory, an audit hook that raises, builtins were deleted
        if entry == "find_spec":  # or the import would fail with another exception
            raise
    except BaseException:
        if files[0] == "_hooks":
            raise
    return None


def _report_least(state, entry, value, given=None):
    # type: (Any, str, Any, Any) -> None
    # Report only the type and the message, without _crash; given is a stub's argument.
    try:
        if value is None and entry == "invoke":
            value = state.exc_info()[1]
        elif value is None and entry == "before_hook":
            value = sys.__dict__.get("last_value")
        elif value is None and given.err_msg.startswith("Exception ignored in thread "):
            value = given.exc_value
        output, taken = state.output, state.taken
        status = taken["fstat"](output.fd)
        kind = "thread" if entry == "invoke" or entry == "unraisablehook" else "exception"
        is_crash = kind == "thread" or value is sys.__dict__.get("last_value")
        if value is not None and is_crash and (status[2], status[1]) == output.identity:
            body = ("%s: %s\n" % (value.__class__.__name__, value)).encode("utf-8", "replace")
            begin = "crashenv: report kind=%s pid=%d bytes=%d\n"
            begin %= kind, taken["getpid"](), body.__len__()
            taken["write"](output.fd, begin.encode("ascii") + body)
    except BaseException:
        pass
