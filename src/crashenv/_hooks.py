"""What the start's stubs do, except for an exception in the main thread.

This file is executed in its own namespace when one of these stubs is called for the first
time: when ``threading`` or ``multiprocessing`` is imported, in a forked child, when a thread
dies, when the program uses faulthandler. Like ``_crash``, it has ``state`` and the functions
that were taken at the start. Each function is named after its stub. Its arguments are the
function that the stub replaces, and the stub's arguments.
"""

if "":  # for type checkers
    from crashenv._held import *


def report(entry: str, value: "Any", *args: "Any") -> "Any":
    """Call ``entry`` of ``_crash_rare``; return None if there is nothing to report.

    The caller then does what would happen without crashenv.
    """
    if value is None or state.output is None:
        return None
    names = state.names_for(state, entry)
    if names is None:
        state.least(state, entry, value)
        return None
    return names[entry](*args) or state


# --- the end


def unraisablehook(original: "Any", *args: "Any") -> None:
    """A raw thread died, or an exception was ignored, which is not a crash."""
    if not is_of_raw_thread(*args) or not report(
        "unraisablehook", args[0].exc_value, original, *args
    ):
        call(original, *args)


def call(original: "Any", *args: "Any") -> None:
    """Let it import modules by the program's ``__builtins__``, see ``call`` of ``_crash_rare``."""
    calling: Any = pass_on
    names = {"__builtins__": state.use.__globals__["__builtins__"]}
    type(calling)(calling.__code__, names)(original, *args)


def pass_on(function: "Any", *args: "Any") -> None:
    function(*args)


def is_of_raw_thread(unraisable: "Any" = None, *more: "Any") -> bool:
    message = getattr(unraisable, "err_msg", None)
    if type(message) is str:
        return message.startswith("Exception ignored in thread ")
    # From 3.13 on, there is no message if the repr() of the thread's function fails.
    get_main = getattr(sys.modules.get("_thread"), "_get_main_thread_ident", get_ident)
    if get_ident() == get_main() or getattr(unraisable, "object", message) is not None:
        return False
    try:
        frame: Any = sys._getframe(2)  # the stub's
        return frame.f_back is None
    except Exception:  # an audit hook that raises
        return False


def before_hook(original: "Any", reference: "Any") -> None:
    """A hook of the program is about to be called, or the program stored an exception."""
    if sys.__dict__.get("excepthook") is state.excepthook:
        try:  # the program may set a hook later; nothing notices its exception then
            __import__("atexit").register(state.stub("at_exit", None))
        except Exception:  # an audit hook that raises
            pass
        return
    report("before_hook", sys.__dict__.get("last_value", state), original, reference)


def at_exit(original: "Any") -> None:
    report("at_exit", sys.__dict__.get("last_value"), original)


# --- threads


def invoke(original: "Any", thread: "Any") -> "Any":
    """The getter of ``Thread._invoke_excepthook``."""
    if "_invoke_excepthook" not in attributes(thread):  # its __init__ was not called yet
        name = type(thread).__name__
        raise AttributeError("%r object has no attribute '_invoke_excepthook'" % name)
    function = report("invoke", state.exc_info()[1], original, thread)
    return attributes(thread)["_invoke_excepthook"] if function in (None, state) else function


def store(original: "Any", thread: "Any", function: "Any") -> None:
    """Its setter."""
    attributes(thread)["_invoke_excepthook"] = function


def attributes(thread: "Any") -> "Any":
    """Return ``thread.__dict__`` without a ``__getattribute__`` of the program's class."""
    return object.__getattribute__(thread, "__dict__")


def register_at_fork(original: "Any", *args: "Any", **kwargs: "Any") -> "Any":
    """threading calls it in the last step of its loading, also if it is loaded again.

    Without fork, it calls one of the two functions of ``_thread`` below.
    """
    names = getattr(kwargs.get("after_in_child"), "__globals__", None)
    if names is None:
        names = getattr(sys.modules.get("threading"), "__dict__", {})
    for name in ("_set_sentinel", "_get_main_thread_ident"):
        defaults = getattr(names.get(name), "__kwdefaults__", None) or {}
        if defaults.get("_entry") == name:  # a copy of the stub, which each thread would call
            names[name] = original
    patch_threading(names)
    return original(*args, **kwargs)


_set_sentinel = _get_main_thread_ident = register_at_fork


def patch_threading(names: "dict[str, Any]") -> None:
    """Make ``Thread._invoke_excepthook`` a property, see ``_crash_rare.invoke``.

    ``names`` is the namespace of threading, of a module being loaded, or of any other module.
    """
    thread: Any = names.get("Thread")
    if "_MainThread" not in names or not hasattr(thread, "_bootstrap_inner"):
        return
    if not isinstance(vars(thread).get("_invoke_excepthook"), property):
        # __excepthook__ exists from 3.10 on. Before, the present hook must be the genuine one.
        genuine = names.get("__excepthook__", names["excepthook"])
        state.genuine = (*getattr(state, "genuine", ()), genuine)
        replaced = property(state.stub("invoke", None), state.stub("store", None))
        thread._invoke_excepthook = replaced


# --- processes


def forked(original: "Any") -> None:
    """In a forked child."""
    output = state.output
    # If the program emptied sys.path_importer_cache, our finder has not seen multiprocessing.
    is_seen = "is_watched" in vars(state) or "multiprocessing.process" not in sys.modules
    if "multiprocess" in sys.modules or "billiard" in sys.modules or not is_seen:
        try:
            from crashenv._seldom import workers

            workers.patch(state)
        except Exception:  # a damaged installation
            pass
    if output is None:
        return
    if len(state.names) < 2 and output.forked is None:  # only this file was executed
        try:
            status = fstat(output.fd)
            if (status[2], status[1]) == output.identity:
                return
        except OSError:
            pass
    report("forked", output, original)


def find_spec(original: "Any", name: str, target: "Any" = None) -> "Any":
    """Replace our finder for a package's folder by the usual one at the first search.

    The package need not have been imported: modulefinder, pyclbr and others search its folder
    themselves, and it may be the working directory. Then the folder is not known.
    """
    cache = sys.path_importer_cache
    ours = [folder for folder, finder in list(cache.items()) if finder is state.finder]
    path = getattr(sys.modules.get(name.rpartition(".")[0]), "__path__", ())
    for folder in [folder for folder in ours if folder in path] or ours:
        for hook in sys.path_hooks:
            try:
                finder = hook(folder)
            except ImportError:
                continue
            cache[folder] = finder
            try:
                from crashenv._seldom import workers

                workers.watch(state, finder)
            except Exception:  # a damaged installation
                pass
            spec = finder.find_spec(name, target)
            if spec is not None:
                return spec
            break
    return None


# --- faulthandler


def provide(original: "Any", name: "str | None" = None) -> "Any":
    """The program looks up a function of faulthandler, or asks for a list: provide them all."""
    genuine = state.faults
    module = genuine["module"]
    own = vars(module)
    try:
        from crashenv._seldom import faults

        found = faults.functions(state)
    except Exception:  # a damaged installation
        found = {key: value for key, value in genuine.items() if callable(value)}
        if not genuine["asked"]:
            genuine["disable"]()
    for key, value in found.items():
        own.setdefault(key, value)  # the program may have set one
    for key in ("__getattr__", "__dir__"):
        own.pop(key, None)
    return dir(module) if name is None else getattr(module, name)
