"""The memory of this process's cgroup, and how many of its processes the OOM killer killed."""

_MOUNT = "/sys/fs/cgroup"
# memory.peak exists from Linux 5.19 on.
_V2 = "memory.peak", "memory.max"
_V1 = "memory.max_usage_in_bytes", "memory.limit_in_bytes"
_NO_LIMIT = 1 << 62  # in v1 a number of pages that no machine has


def kills() -> "int | None":
    """Return the count so far, or None if the kernel has none (cgroups(7)).

    cgroup v2 has it in ``memory.events``, v1 in ``memory.oom_control``. In a
    container the path may be the host's while the mount begins at the container's
    own cgroup, so that one is read next. A root cgroup has no such file;
    there the whole machine's count is used (proc(5), vmstat).
    """
    for path in (*_files(), "/proc/vmstat"):
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            continue
        for line in content.splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
    return None


def memory() -> "tuple[int | None, int | None]":
    """Return the peak and the limit of this process's cgroup in bytes; None if there is none."""
    for path in _files():
        folder, name = path.rsplit("/", 1)
        names = _V2 if name == "memory.events" else _V1
        limit = _number(folder + "/" + names[1])
        if limit is not None:  # not a root cgroup, nor one without a limit
            return _number(folder + "/" + names[0]), limit
    return None, None


def _number(path: str) -> "int | None":
    try:
        with open(path, "rb") as file:
            number = int(file.read())
    except (OSError, ValueError):  # "max"
        return None
    return number if number < _NO_LIMIT else None


def _files() -> "list[str]":
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            for folder in (path, ""):
                found.append("%s/memory%s/memory.oom_control" % (_MOUNT, folder.rstrip("/")))
        elif not controllers:
            for folder in (path, ""):
                found.append("%s%s/memory.events" % (_MOUNT, folder.rstrip("/")))
    return found
