"""What the interpreter's own hook prints, kept while it prints it.

The report gets the very bytes, the program's ``__str__`` methods run no second
time, and ``traceback`` is not imported where the interpreter does not need it.

Crash side: see the package.
"""

import sys
from _thread import allocate_lock, get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from crashenv._wire import Body


def print_and_keep(
    body: "Body", value: "BaseException", heading: str, hook: "Callable[..., Any]", *args: "Any"
) -> None:
    """Call ``hook``, once, and keep in ``body`` what it writes to stderr.

    ``heading`` is what it writes before the traceback. Raises what ``hook`` raises,
    and nothing else.
    """
    try:
        complete = _read_along(body, True, hook, args)
    except BaseException:  # PyPy's default hook raises what a broken stderr raises
        only_keep(body, value, heading, hook, *args)
        raise
    if not complete:
        # stderr is None, broken, or no ordinary stream
        only_keep(body, value, heading, hook, *args)
    elif _type_name(value) not in body.text():
        # What the interpreter cannot print it dumps past sys.stderr (_PyObject_Dump).
        body.add(_type_name(value) + "\n")


def only_keep(
    body: "Body", value: "BaseException", heading: str, hook: "Callable[..., Any]", *args: "Any"
) -> None:
    """Keep in ``body`` what ``hook`` would write to stderr, which gets nothing."""
    body.clear()
    if not _dumps_past_stderr():
        try:
            if _read_along(body, False, hook, args):
                return
        except BaseException:  # of a hostile exception, or of memory
            pass
        body.clear()
    body.add(heading)
    format_exception(body, value)


def _dumps_past_stderr() -> bool:
    """Whether the hook may call _PyObject_Dump, and there is something else to use.

    From 3.13 on it asks ``traceback`` itself; before 3.11 it ignores such errors.
    """
    if not (3, 11) <= sys.version_info < (3, 13) or sys.implementation.name != "cpython":
        return False
    try:
        import traceback  # noqa: F401
    except BaseException:  # no descriptor or memory left
        return False
    return True


def format_exception(body: "Body", value: "BaseException") -> None:
    """Without a stderr to read along."""
    try:
        import traceback

        for line in traceback.format_exception(type(value), value, value.__traceback__):
            body.add(line)
    except BaseException:  # nothing left to import it with, or a hostile exception
        body.add(_type_name(value) + "\n")


def _type_name(value: BaseException) -> str:
    # type's own descriptor, which a metaclass cannot replace
    return str(vars(type)["__name__"].__get__(type(value)))


class _Reader:
    """What one thread writes to stderr while a hook prints."""

    __slots__ = ("body", "echo", "failed")

    def __init__(self, body: "Body", echo: bool) -> None:
        self.body = body
        self.echo = echo
        self.failed = False

    def read(self, text: str) -> None:
        try:
            self.body.add(_without_colour(text) if "\033[" in text else text)
        except BaseException:  # memory, a text that is no str: the program's write goes on
            self.failed = True


def _without_colour(text: str) -> str:
    """From 3.13 on the default hook writes in colour to a terminal."""
    colorize = sys.modules.get("_colorize")
    if colorize is None or not colorize.can_colorize():
        return text
    first, *rest = text.split("\033[")
    plain = [first]
    for piece in rest:
        end = len(piece) - len(piece.lstrip("0123456789;"))
        plain.append(piece[end + 1 :] if piece[end : end + 1] == "m" else "\033[" + piece)
    return "".join(plain)


class _Tee:
    """Shadows ``write`` of one stream for as long as a thread reads along.

    The interpreter's hooks, in C and in Python, look ``write`` up on the object
    in ``sys.stderr``, where an entry of the instance's ``__dict__`` goes before
    the method. Other threads' writes go straight through.
    """

    def __init__(self, stream: "Any") -> None:
        self._attributes = stream.__dict__
        self._before = self._attributes.get("write")
        self._write = stream.write
        self._readers: dict[int, _Reader] = {}
        self._attributes["write"] = self.write
        self.works = stream.write == self.write

    def write(self, text: str) -> "Any":
        reader = self._readers.get(get_ident())
        if reader is None:
            return self._write(text)
        written: Any = len(text)
        if reader.echo:
            # First: what we keep may take the memory that this needs.
            try:
                written = self._write(text)
            except BaseException:
                reader.failed = True
                raise
        reader.read(text)
        return written

    def add(self, ident: int, reader: "_Reader") -> "_Reader | None":
        before = self._readers.get(ident)
        self._readers[ident] = reader
        return before

    def remove(self, ident: int, before: "_Reader | None") -> bool:
        """Stop reading; True when nobody reads any more and ``write`` is as it was."""
        if before is not None:
            self._readers[ident] = before
        else:
            self._readers.pop(ident, None)
        if self._readers:
            return False
        if self._before is None:
            self._attributes.pop("write", None)
        else:
            self._attributes["write"] = self._before
        return True

    def keep_only(self, ident: int) -> None:
        for other in list(self._readers):
            if other != ident:
                self._readers.pop(other)


_guard = allocate_lock()
_tees: "dict[int, _Tee]" = {}  # by id() of the stream


def _read_along(body: "Body", echo: bool, hook: "Callable[..., Any]", args: "Any") -> bool:
    """Whether ``body`` is complete. An ``echo``ing hook is called in any case."""
    reading = Reading(body, echo)
    try:
        if echo or not reading.failed:
            hook(*args)
    finally:
        reading.stop()
    return bool(body) and not reading.failed


class Reading:
    """From now until ``stop``, ``body`` gets what this thread writes to sys.stderr."""

    def __init__(self, body: "Body", echo: bool) -> None:
        self._reader = _Reader(body, echo)
        self._ident = get_ident()
        self._tee: _Tee | None = None
        self._before: _Reader | None = None
        try:
            stream = sys.stderr
            with _guard:
                self._key = id(stream)
                tee = _tees.get(self._key)
                if tee is None:
                    tee = _tees[self._key] = _Tee(stream)
                self._before = tee.add(self._ident, self._reader)
            self._tee = tee
            self._reader.failed = not tee.works
        except BaseException:  # stderr is None, or no ordinary stream
            self._reader.failed = True

    @property
    def failed(self) -> bool:
        return self._reader.failed

    def stop(self) -> None:
        if self._tee is not None:
            with _guard:
                if self._tee.remove(self._ident, self._before):
                    _tees.pop(self._key, None)


def after_fork_in_child() -> None:
    """Only the thread that forked goes on."""
    global _guard
    _guard = allocate_lock()
    for tee in list(_tees.values()):
        tee.keep_only(get_ident())
