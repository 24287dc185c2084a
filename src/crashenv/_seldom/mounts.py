"""Which file systems depend on a server that may stop answering."""

import os

# A write there may wait for the server for ever, and poll(2) and O_NONBLOCK do not
# apply to regular files. Only a signal's default action ends the wait.
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "afs", "lustre")
_REMOTE_PREFIX = "fuse"


def is_remote(device: int) -> bool:
    """Return whether files with this ``st_dev`` are on such a file system. Raise OSError."""
    number = "%d:%d" % (os.major(device), os.minor(device))
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for mount in mounts:
            if mount.split(" ", 3)[2] == number:
                kind = mount.partition(" - ")[2].partition(" ")[0]
                return kind in _REMOTE or kind.startswith(_REMOTE_PREFIX)
    return False
