"""crashenv without an installation: put this folder on PYTHONPATH.

Reads PYDEBUG before user code runs, as the installed ``.pth`` line does, then
gets out of the way: the folder leaves ``sys.path``, and the ``sitecustomize``
that this one shadows is imported in its place. Any interpreter may find it on
its path, so Python 2.7 has to be able to read it as well.
"""

import os
import sys


def _activate(here):
    if "crash" not in os.environ.get(
        "CRASHENV", os.environ.get("PYDEBUG", "")
    ) or sys.version_info < (3, 9):
        return
    if "crashenv" not in sys.modules:
        # This folder stands in the package, or beside src/ in a checkout of any name.
        above = os.path.dirname(here)
        in_package = os.path.isfile(os.path.join(above, "__init__.py"))
        _import_crashenv(os.path.dirname(above) if in_package else os.path.join(above, "src"))
    import crashenv

    crashenv._start()


def _import_crashenv(folder):
    """As if ``folder`` were on ``sys.path``, where it is not to be."""
    # importlib.util's functions, without the 2 ms that importing it takes
    from _frozen_importlib import _load
    from _frozen_importlib_external import PathFinder

    _load(PathFinder.find_spec("crashenv", [folder]))


def _leave_path(here):
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    sys.path_importer_cache.pop(here, None)


_here = os.path.dirname(os.path.abspath(__file__))
try:
    _activate(_here)
except BaseException:  # never a traceback of ours, never an interpreter that does not start
    pass
_leave_path(_here)

# The import that is under way takes what stands in sys.modules when this module
# ends. Where there is no other sitecustomize, the ImportError is what site expects.
del sys.modules["sitecustomize"]
import sitecustomize  # noqa: E402, F401
