# What sitecustomize.py does if the variable is set, or if another program loads it in its own way.


def places(code, names):
    """Return the folders where this file may be; code from a string has its caller's __file__."""
    import os
    import sys

    files = [code.co_filename, names.get("__file__") or ""]
    if files[0] == files[1]:
        return [os.path.dirname(os.path.abspath(files[0]))]
    found = [os.path.dirname(os.path.abspath(file)) for file in files if os.path.isfile(file)]
    named = [entry.rstrip("/") for entry in sys.path]
    found += [os.path.abspath(entry) for entry in named if entry.endswith("sitecustomize")]
    return [here for here in found if root(here)] or found[:1]


def root(here):
    """Return the package's parent folder: this folder is in the package, or beside src/."""
    import os

    above = os.path.dirname(here)
    for package in (above, os.path.join(above, "src", "crashenv")):
        init = os.path.join(package, "__init__.py")
        is_ours = os.path.basename(package) == "crashenv"
        if is_ours and (os.path.isfile(init) or os.path.isfile(init + "c")):
            return os.path.dirname(package)
    return None


def activate(here):
    import os
    import sys

    if "crash" not in os.environ.get(
        "CRASHENV", os.environ.get("PYDEBUG", "")
    ) or sys.version_info < (3, 9):
        return
    if "crashenv" not in sys.modules:
        # Import it without adding the folder to sys.path; these are importlib.util's
        # functions, without the 2 ms of its import.
        from _frozen_importlib import _load
        from _frozen_importlib_external import PathFinder

        _load(PathFinder.find_spec("crashenv", [root(here)]))
    import crashenv

    crashenv._start()


def leave_path(here):
    import os
    import sys

    name = os.path.basename(here)
    for entry in [entry for entry in sys.path if name in entry]:
        if os.path.abspath(entry) == here:
            sys.path.remove(entry)
            sys.path_importer_cache.pop(entry, None)


def is_import(frame):
    """Return whether an import statement executes this, not another program's loader."""
    frame = frame.f_back
    while frame is not None and frame.f_code.co_name != "<module>":
        if frame.f_code.co_name == "_find_and_load_unlocked":
            return True
        frame = frame.f_back
    return False


def host(frame):
    """Return the file of the module in whose namespace this is executed; None for our own."""
    names, frame = frame.f_globals, frame.f_back
    while frame is not None:
        if frame.f_globals is names and frame.f_code.co_name == "<module>":
            return frame.f_code.co_filename
        frame = frame.f_back
    return None


def pass_on(frame, is_import, host):
    """Execute the next sitecustomize on the path; without one, leave no traces."""
    import sys
    from _frozen_importlib import _find_spec

    names, name = frame.f_globals, "sitecustomize"
    spec = _find_spec(name, None)
    module = sys.modules.get(name)
    is_module = getattr(module, "__dict__", None) is names
    if host is not None and names.get("__file__") != frame.f_code.co_filename:
        is_module = False  # executed by exec(), which does not change the host's module
    if spec is None and is_import and host is None:
        # As if there were none, for site and any other importer.
        raise ModuleNotFoundError("No module named %r" % name, name=name)
    if spec is None and is_module and host is not None:
        import os
        from _frozen_importlib import _init_module_attrs
        from _frozen_importlib_external import PathFinder

        folder = os.path.dirname(host)
        if os.path.basename(host).startswith("__init__."):
            folder = os.path.dirname(folder)
        spec = PathFinder.find_spec(name, [folder])
        if spec is not None:
            _init_module_attrs(spec, module, override=True)
    elif spec is not None and is_module:
        from _frozen_importlib import _exec

        _exec(spec, module)
    elif spec is not None and spec.loader is not None:
        if host is None and names.get("__spec__") is not None:
            names["__spec__"], names["__loader__"] = spec, spec.loader
        if host is None and "__file__" in names:
            names["__file__"] = spec.origin
        code = spec.loader.get_code(name)
        if code is not None:
            exec(code, names)


def pass_on_2(frame, is_import, host):
    """Do the same before Python 3.6."""
    import imp
    import sys

    names, name = frame.f_globals, "sitecustomize"
    try:
        found = imp.find_module(name)
    except ImportError:
        if host is not None:
            names["__file__"] = host
        elif getattr(sys.modules.get(name), "__dict__", None) is names:
            raise
        return
    try:
        imp.load_module(name, *found)
    finally:
        if found[0] is not None:
            found[0].close()


def prepare(frame):
    """Activate; return the function that passes on, and its arguments.

    ``frame`` is that of the module in sitecustomize.py.
    """
    import sys

    names = frame.f_globals
    arguments = frame, is_import(frame), host(frame)
    try:
        for here in places(frame.f_code, names)[:1]:
            try:
                activate(here)
            finally:
                leave_path(here)
    except BaseException:  # never print a traceback, never keep the interpreter from starting
        pass
    return (pass_on if sys.version_info >= (3, 6) else pass_on_2), arguments
