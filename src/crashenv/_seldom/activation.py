"""The start, if there is more than a single ``crashfd`` of a pipe or a file.

It prints nothing if there is nothing to do, and one line on stderr if a setting is wrong.
The package, which contains the start, is passed as ``start``.
"""

import os

from crashenv._seldom import crashfile, interpreters, outputs, workers
from crashenv._seldom.settings import Problem, number, parse, replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import SimpleNamespace
    from typing import Any

    from crashenv._seldom.settings import Settings

_FIRST_PASSED = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)


def activate(start: "Any", variable: str) -> None:
    """Read ``variable`` and adopt the crash output that it names."""
    text = os.environ.get(variable, "")
    if is_elevated():
        return
    settings, problems = parse(text)
    item = None
    output = outputs.new()
    outputs.apply(output, settings)
    try:
        item = adopt(start, settings, output)
    except (Problem, OSError) as error:
        if settings.identity is not None:
            return  # not meant for this process
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        problems.append((item_of(settings), why))
    # No child should try a wrong item again, or warn about it again.
    wrong = {given.partition("=")[0] for given, _ in problems}
    if item is not None:
        wrong.update(("crashfile",) if settings.path is not None else ("crashfd", "crashhandle"))
    _rewrite(variable, replaced(text, wrong, item))
    if item is not None or settings.threads == "fatal":
        start._use(start._state, output, interpreters.is_main())
        if os.name == "nt":
            from crashenv._seldom import windows

            windows.take(start._state, output)
    if problems:
        from crashenv._seldom import warning

        warning.warn(variable, problems, item is not None)
    if item is not None and settings.family and interpreters.is_main():
        _join_family(settings.family, output, start._state)
    if output.at_exit is not None:
        import atexit

        atexit.register(_at_exit, start._state)


def adopt(start: "Any", settings: "Settings", output: "SimpleNamespace") -> "str | None":
    """Open the crash output; return the item for a descendant, None if there is no output.

    Raises Problem or OSError.
    """
    if not settings.has_output():
        return None
    state = start._state
    if settings.path is not None:
        path = _adopt_file(settings.path, output, state)
        # The variable cannot contain a comma, which the working directory may have.
        item = "crashfile=" + (settings.path if "," in path else path)
    else:
        if settings.listen_name is not None:
            settings.fd = passed_as(settings.listen_name)
        item = _adopt_descriptor(settings, output, state)
    if not interpreters.is_main():
        borrow(output, state)
    return item


def _adopt_file(template: str, output: "SimpleNamespace", state: "Any") -> str:
    """Open the file of this process; return the template for a descendant.

    Raises Problem or OSError.
    """
    template = crashfile.expand(template)
    is_own = crashfile.is_own(template)
    outputs.open_path(output, crashfile.expand_pid(template), state, is_own)
    if is_own:
        crashfile.sweep(template)

        def in_child(current: "SimpleNamespace") -> None:
            workers.patch(state)
            outputs.close(current)
            current.fd = -1
            outputs.open_path(current, crashfile.expand_pid(template), state, is_own)
            if state.output is current:
                state.use(state, current)

        output.forked = in_child
        output.at_exit = lambda: crashfile.remove_if_empty(
            output.fd, output.identity, crashfile.expand_pid(template)
        )
    return template


def _adopt_descriptor(settings: "Settings", output: "SimpleNamespace", state: "Any") -> str:
    if os.name == "nt":
        from crashenv._seldom import handles

        return handles.adopt_passed(settings, output, state)
    fd, expected = settings.fd, settings.identity
    assert fd is not None
    elsewhere = ":" + settings.elsewhere if settings.elsewhere else ""
    if expected is not None and not outputs.is_file(fd, expected):
        if not settings.elsewhere:
            raise Problem("is another file")
        outputs.open_passed_elsewhere(output, settings.elsewhere, expected, state)
        return "crashfd=%d:%d:%d%s" % (fd, *expected, elsewhere)
    try:
        if expected is None and not os.get_inheritable(fd):
            # Opened by this interpreter: up to 3.12 that is the .pth file itself.
            raise Problem("was not passed to this process")
    except OSError as error:
        raise Problem("is not open") from error
    outputs.open_source(output, fd, state)
    return "crashfd=%d:%d:%d%s" % (fd, *output.identity, elsewhere)


def borrow(output: "SimpleNamespace", state: "Any") -> None:
    """Hold no descriptor between reports: there may be thousands of sub-interpreters."""
    source, reopen = output.source, output.reopen
    outputs.close(output)
    output.fd, output.dumps, output.reopen, output.is_plain = -1, -1, None, False

    def deliver(data: bytes) -> None:
        own = type(output)(**vars(output))
        own.deliver = None
        names = state.names_for(state, "deliver")
        if reopen is not None:
            reopen(own)
        elif source is not None and outputs.is_file(source, output.identity):
            outputs.open_source(own, source, state)
        else:
            return
        names["deliver"](own, data)
        outputs.close(own)

    output.deliver = deliver


def _join_family(value: str, output: "SimpleNamespace", state: "Any") -> None:
    """Announce this process to a monitor, also each forked child, and its normal end."""
    try:
        from crashenv._seldom import family
    except ImportError:
        return
    family.join(value)
    forked, at_exit = output.forked, output.at_exit

    def in_child(current: "SimpleNamespace") -> None:
        if forked is not None:
            forked(current)
        else:
            workers.patch(state)
        family.forked()

    def leave() -> None:
        family.leave()
        if at_exit is not None:
            at_exit()

    output.forked, output.at_exit = in_child, leave


def _at_exit(state: "Any") -> None:
    try:
        if state.output is not None and state.output.at_exit is not None:
            state.output.at_exit()
    except Exception:  # atexit would print it
        pass


def passed_as(name: str) -> int:
    """Return the descriptor that the service manager passed as ``name`` (sd_listen_fds(3))."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    try:
        count = number(os.environ.get("LISTEN_FDS", ""), 9)
        pid = number(os.environ.get("LISTEN_PID", ""), 9)
    except Problem:
        count = pid = 0
    if pid != os.getpid() or name not in names[:count]:
        raise Problem("no descriptor with that name was passed to this process")
    return _FIRST_PASSED + names.index(name)


def is_elevated() -> bool:
    """Return whether this is a set-uid or set-gid program, whose caller must not name files."""
    if not hasattr(os, "geteuid"):
        return False
    return os.getuid() != os.geteuid() or os.getgid() != os.getegid()


def _rewrite(variable: str, text: str) -> None:
    if text.strip(", "):
        if text != os.environ[variable]:
            os.environ[variable] = text
    else:
        del os.environ[variable]


def item_of(settings: "Settings") -> str:
    if settings.path is not None:
        return "crashfile=" + settings.path
    if settings.handle is not None:
        return "crashhandle=%d" % settings.handle
    name = settings.listen_name
    return "crashfd=" + (str(settings.fd) if name is None else "@" + name)
