"""Decide whether a frame is the program's own, a launcher's, a library's or the interpreter's."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from crashenv.records import StackFrame

_PACKAGES = ("/site-packages/", "/dist-packages/")
_INTERPRETER = (
    "/lib/python3",
    "/lib64/python3",
    "/Lib/",
    "/lib/pypy3",
    "/lib-python/",
    "/lib_pypy/",
    "/PyInstaller/loader/",
    "/python/pyspark/",
    "/opt/python/",  # Lambda's layers
    "/var/runtime/",
)
# Of the standard library, as frozen programs name it, without a folder, and conda's and old
# Pythons for Windows below "lib".
_STANDARD = (
    " argparse ast asyncio base64 bdb codecs collections concurrent configparser contextlib "
    "copy csv ctypes dataclasses datetime decimal email encodings enum fractions functools "
    "getpass glob gzip hashlib http imaplib importlib inspect io ipaddress json locale "
    "logging lzma multiprocessing ntpath os pathlib pickle pkgutil posixpath pprint queue "
    "random re runpy selectors shelve shlex shutil site smtplib socket socketserver sqlite3 "
    "sre_compile sre_parse ssl statistics string struct subprocess sysconfig tarfile tempfile "
    "textwrap threading tkinter tokenize tomllib traceback types typing unittest urllib uuid "
    "warnings weakref wsgiref xml xmlrpc zipfile zipimport zoneinfo "
)
_WINDOWS_LIBRARY = "/lib/"
# The folders of a Nuitka program.
_UNPACKED = ("/ONEFIL~", "/onefile_", ".dist/")
_ARCHIVES = (".zip/", ".egg/", ".whl/")
# Names without a file that are the program's; others come from a library or from the
# interpreter: "<frozen runpy>", "<unknown>" of ast, "<attrs generated init ...>".
_PROGRAMS = ("<string>", "<stdin>", "<console>")
_CYTHON = (".pyx", ".pxi", ".pxd")
_OURS = ("/crashenv/_", "/crashenv/sitecustomize/", "/crashenv/__init__.py")
_SCRIPTS = ("bin", "Scripts")
_IN_SCRIPT = ("sys.exit(", "exit(", "raise SystemExit(")
_SCRIPTS_FUNCTIONS = ("<module>", "importlib_load_entry_point")
# shiv's and pex's own code, in the archive or beside the program.
_BOOTSTRAP = "_bootstrap"
_BOOTSTRAPS = ("/_bootstrap/__init__.py", "/.bootstrap/")
# The packages of launchers, which run other programs.
_LAUNCHERS = (
    "_bootstrap _pytest aiohttp airflow amqp anyio asgiref billiard celery click coverage "
    "cx_Freeze dagster daphne dask ddtrace debugpy distributed django dramatiq falcon fastapi "
    "fire flask gevent greenlet gunicorn honcho huey hypercorn importlib_metadata invoke "
    "IPython ipykernel joblib kombu loky luigi multiprocess nbclient newrelic opentelemetry "
    "pex pkg_resources pluggy prefect pydevd pytest quart ray rq sanic setuptools shiv "
    "starlette streamlit tornado trio twisted typer uvicorn uvloop vine waitress watchdog "
    "watchfiles werkzeug xdist "
)

_MOST_KEPT = 4096
_LONGEST_KEPT = 512  # characters
_kept: "dict[str, tuple[bool, str]]" = {}
_known: "dict[int, Known]" = {}
_patterns: "list[Callable[[str], Any]]" = []


def prefer(patterns: "Sequence[str]") -> None:
    """From now on, treat matches of these patterns as own, in crashes that have any.

    A pattern is like a shell's, for a whole path or for folders and names in it: ``/srv/*``,
    ``myapp``, ``jobs/*.py``.
    """
    if not patterns:
        return
    import re
    from fnmatch import translate

    for pattern in patterns:
        text = pattern.replace("\\", "/").rstrip("/")
        whole = translate(text if text.startswith("/") else "*/" + text)
        inside = translate(text + "/*" if text.startswith("/") else "*/" + text + "/*")
        _patterns.append(re.compile("%s|%s" % (whole, inside)).match)


class Known:
    """A frame, and what is worth finding out of it but once.

    ``name`` is its file's and its function's, ``package`` that which was installed.
    """

    __slots__ = ("frame", "is_own", "name", "package")

    def __init__(self, frame: "StackFrame") -> None:
        file, self.frame = frame["file"], frame
        self.name = file.replace("\\", "/").rpartition("/")[2] + ":" + frame["function"]
        is_programs, self.package = _kind(file)
        self.is_own = is_programs and not _is_launcher(frame)


def _look_at(frame: "StackFrame") -> Known:
    """Programs crash in the same places again and again. A frame that is kept keeps its id()."""
    known = Known(frame)
    if len(known.name) + len(frame["file"]) + len(frame["source"] or "") <= _LONGEST_KEPT:
        if len(_known) >= _MOST_KEPT:
            _known.clear()
        _known[id(frame)] = known
    return known


def own(frames: "Sequence[StackFrame]") -> "Sequence[Known]":
    """The program's own of ``frames``, which are in the order of the calls; all, if none is.

    Where none but libraries' are, as of a program that pip installed, the program is the
    package that was called first, behind the script that pip made and other launchers.
    """
    try:
        known = list(map(_known.__getitem__, map(id, frames)))
    except KeyError:
        known = [_known.get(id(frame)) or _look_at(frame) for frame in frames]
    preferred = [one for one in known if _is_preferred(one.frame["file"])] if _patterns else []
    if preferred:
        return preferred
    known = _behind_bootstrap(known)
    found = [one for one in known if one.is_own]
    return found or _of_first_package(known) or _of_launcher(known) or known


def is_own(file: str) -> bool:
    """Return whether ``file`` is the program's, not the interpreter's or a library's."""
    return _kind(file)[0]


def _of_first_package(known: "list[Known]") -> "list[Known]":
    names = [one.package for one in known if one.package]
    for name in names:
        if name + " " not in _LAUNCHERS:
            return [one for one in known if one.package == name]
    return [one for one in known if one.package == names[0]] if names else []


def _of_launcher(known: "list[Known]") -> "list[Known]":
    """Where the program is a script that only looks like an installer's."""
    return [one for one in known if is_own(one.frame["file"])]


def _behind_bootstrap(known: "list[Known]") -> "list[Known]":
    names = [one.package for one in known[:-1]]
    if _BOOTSTRAP not in names:
        return known
    return known[len(names) - names[::-1].index(_BOOTSTRAP) :]


def _is_launcher(frame: "StackFrame") -> bool:
    """Return whether it is a script that pip, uv or another installer made for an entry point."""
    if frame["function"] not in _SCRIPTS_FUNCTIONS:
        return False
    folder, _, name = frame["file"].replace("\\", "/").rpartition("/")
    if name == "__main__.py" and folder.endswith((".exe", ".pyz", ".pex", ".shiv", ".zip")):
        return True
    if folder.rpartition("/")[2] not in _SCRIPTS or name.endswith(".py"):
        return False
    source = (frame["source"] or "").strip()
    return not source or source.startswith(_IN_SCRIPT) or _imports_entry(source)


def _imports_entry(source: str) -> bool:
    """As ``from package.module import main``."""
    words = source.split()
    return len(words) == 4 and words[0] == "from" and words[2] == "import"


def _is_preferred(file: str) -> bool:
    path = file.replace("\\", "/")
    path = path if path.startswith("/") else "/" + path
    return any(match(path) for match in _patterns)


def _kind(file: str) -> "tuple[bool, str]":
    found = _kept.get(file)
    if found is None:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        found = _kept[file] = _new_kind(file.replace("\\", "/"))
    return found


def _new_kind(path: str) -> "tuple[bool, str]":
    if path.startswith("<"):
        return path in _PROGRAMS, ""
    for mark in (*_PACKAGES, *_ARCHIVES):
        _, found, rest = path.rpartition(mark)
        if found:
            name, slash, _ = rest.partition("/")
            return False, name if slash else name.partition(".")[0]
    if any(mark in path for mark in _BOOTSTRAPS) or _is_of_pex(path):
        return False, _BOOTSTRAP
    if any(part in "/" + path for part in _INTERPRETER) or _is_standard(path):
        return False, ""
    if path.endswith(_CYTHON) and not path.startswith("/") and path[1:2] != ":":
        return False, path.partition("/")[0] if "/" in path else ""
    return not any(part in path for part in _OURS), ""


def _is_of_pex(path: str) -> bool:
    return path.endswith(("/pex", "/__main__.py")) and "pex/venvs/" in path


def _is_standard(path: str) -> bool:
    """Whether it is the standard library's by its name, where the folder does not tell."""
    rest = "" if path.startswith("/") else path
    if path[1:2] == ":":
        rest = path.partition(_WINDOWS_LIBRARY)[2]
    for mark in _UNPACKED:
        if mark in path:
            rest = path.partition(mark)[2]
            rest = rest if mark.endswith("/") else rest.partition("/")[2]
    name = rest.partition("/")[0].partition(".")[0]
    return bool(name) and " " + name + " " in _STANDARD
