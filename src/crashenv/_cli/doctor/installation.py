"""How crashenv is activated in this interpreter before a program starts, if it is."""

import os
import site
import stat
import sys

import crashenv
from crashenv import _parent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    # "ok", "note" or "bad", and the text to print
    Finding = tuple[str, str]

PTH = "crashenv_startup.pth"
_START = "crashenv_startup.start"
_SITECUSTOMIZE = "sitecustomize.py"
_MARK = "crashenv without an installation"
_FIRST_WITH_START = (3, 15)  # PEP 829
_FIRST_WITHOUT_LINES = (3, 18)


def findings(paths: "Sequence[str]", python_path: str) -> "list[Finding]":
    """Look in the site folders ``paths`` and in the folders of PYTHONPATH."""
    found = [*_of_pth(paths), *_of_python_path(python_path)]
    if not any(state == "ok" for state, _ in found):
        found.append(
            ("bad", "not activated: install crashenv, or put %s on PYTHONPATH" % _parent.folder())
        )
    return found


def site_folders() -> "list[str]":
    """Return the folders whose ``.pth`` files the interpreter reads."""
    folders = list(site.getsitepackages()) if hasattr(site, "getsitepackages") else []
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    return list(dict.fromkeys(map(os.path.realpath, folders)))


def _of_pth(paths: "Sequence[str]") -> "Iterator[Finding]":
    present = [os.path.join(path, PTH) for path in paths]
    present = [path for path in present if os.path.lexists(path)]
    if not present:
        yield "note", "not installed: there is no %s in %s" % (PTH, ", ".join(paths))
    for path in present:
        problem = _problem_of(path, paths)
        if problem:
            yield "bad", "%s %s" % (path, problem)
        else:
            yield "ok", "installed: %s" % path
    if len(present) > 1:
        yield "note", "installed %d times (%s); it is activated once" % (len(present), PTH)


def _problem_of(path: str, paths: "Sequence[str]") -> str:
    if sys.flags.no_site:
        return "is not read: -S"
    try:
        status = os.stat(path)
        with open(path, "rb") as file:
            line = file.read()
    except OSError as error:
        return "cannot be read: %s" % error.strerror
    if is_hidden(status):
        return "is hidden, so site skips it; use chflags nohidden"
    if b"crashenv" not in line:
        return "is damaged: it does not import crashenv"
    if sys.version_info >= _FIRST_WITHOUT_LINES:
        return "is ignored: Python 3.18 reads no import lines (PEP 829)"
    beside = os.path.join(os.path.dirname(path), _START)
    if sys.version_info >= _FIRST_WITH_START and os.path.exists(beside):
        return "is ignored, because %s is in the same folder (PEP 829)" % _START
    if not _is_importable(paths):
        return "is orphaned: the package crashenv is missing"
    return ""


def is_hidden(status: "os.stat_result") -> bool:
    """Decide as site.addpackage() does from 3.11.9, 3.12.3 and 3.13 on."""
    flags = getattr(status, "st_flags", 0)
    attributes = getattr(status, "st_file_attributes", 0)
    hidden = getattr(stat, "FILE_ATTRIBUTE_HIDDEN", 2)
    return bool(flags & stat.UF_HIDDEN or attributes & hidden)


def _is_importable(paths: "Sequence[str]") -> bool:
    """Return whether site makes it importable, not the working folder or PYTHONPATH."""
    from importlib.machinery import PathFinder

    # An editable installation adds its source folder to sys.path in its own .pth file.
    added = [path for path in sys.path if path not in ("", os.getcwd())]
    return PathFinder.find_spec("crashenv", [*paths, *added]) is not None


def _of_python_path(python_path: str) -> "Iterator[Finding]":
    folders = [folder for folder in python_path.split(os.pathsep) if folder]
    files = [os.path.join(folder, _SITECUSTOMIZE) for folder in folders]
    files = [path for path in files if os.path.isfile(path)]
    ours = [path for path in files if is_ours(path)]
    if not ours:
        return
    if files[0] != ours[0]:
        yield "bad", "%s is shadowed by %s" % (ours[0], files[0])
        return
    if not _has_package(os.path.dirname(os.path.abspath(ours[0]))):
        yield "bad", "%s does nothing: the package crashenv is missing" % ours[0]
        return
    yield "ok", "on PYTHONPATH: %s" % ours[0]
    if len(files) > len(ours):
        other = next(path for path in files if path not in ours)
        yield "note", "%s comes later on PYTHONPATH, and is run by crashenv's" % other


def _has_package(folder: str) -> bool:
    """Return whether the package is where ``sitecustomize.py`` in ``folder`` looks for it."""
    above = os.path.dirname(folder)
    if not os.path.isfile(os.path.join(above, "__init__.py")):
        above = os.path.join(above, "src", "crashenv")
    return os.path.isfile(os.path.join(above, "__init__.py"))


def is_ours(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return _MARK in file.read(1000)
    except OSError:
        return False


def version() -> str:
    where = os.path.dirname(os.path.abspath(crashenv.__file__))
    return "crashenv %s in %s" % (crashenv.__version__, where)
