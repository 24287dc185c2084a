# crashenv without an installation: put this folder on PYTHONPATH.
#
# It reads PYDEBUG before user code runs, like the installed ``.pth`` line. Then it removes
# its folder from ``sys.path`` and executes the ``sitecustomize`` that it shadows in its
# place, in the same namespace, by whatever means it was loaded. Other programs load it too,
# in different ways: New Relic's agent by ``loader.load_module()``, which executes it in
# the agent's own module. So it leaves no name behind, not even ``__doc__``.
#
# Any interpreter may find it on its path, so Python 2.7 must be able to compile it.
# A start without the variable pays for this file; the rest is in _crashenv_others.py.


def _crashenv():
    import os
    import sys

    frame, name = sys._getframe(1), "sitecustomize"
    names, file = frame.f_globals, frame.f_code.co_filename
    del names["_crashenv"]
    above = frame.f_back
    while above and above.f_code.co_name not in ("_find_and_load_unlocked", "<module>"):
        above = above.f_back
    module, here = sys.modules.get(name), os.path.dirname(file)
    is_usual = (
        sys.version_info >= (3, 9)
        and "crash" not in os.environ.get("CRASHENV", os.environ.get("PYDEBUG", ""))
        and above
        and above.f_code.co_name == "_find_and_load_unlocked"
        and getattr(module, "__dict__", None) is names
        and names.get("__file__") == file
        and not [other for other in names if other[:2] != "__"]
        and here in sys.path
    )
    if is_usual:
        import _frozen_importlib

        sys.path.remove(here)
        sys.path_importer_cache.pop(here, None)
        spec = _frozen_importlib._find_spec(name, None)
        if spec is None:
            # As if there were none, for site and any other importer.
            raise ModuleNotFoundError("No module named %r" % name, name=name)
        _frozen_importlib._exec(spec, module)
        return
    rest, own = "_crashenv_others", {}
    try:
        # Code from a string has its caller's __file__.
        named = [entry for entry in sys.path if entry.rstrip("/").endswith(name)]
        named += [os.path.dirname(names.get("__file__") or ""), here]
        for folder in reversed(named):
            if sys.version_info < (3, 4):
                path = os.path.join(folder, rest + ".py")
                if not os.path.exists(path):
                    continue
                with open(path) as text:
                    code = compile(text.read(), path, "exec")
            else:
                from _frozen_importlib_external import PathFinder

                spec = PathFinder.find_spec(rest, [folder])
                code = spec and spec.loader.get_code(rest)
            if code:
                exec(code, own)
                break
    except BaseException:
        pass
    if "prepare" in own:
        pass_on, arguments = own["prepare"](frame)
        pass_on(*arguments)


_crashenv()
