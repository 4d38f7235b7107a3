"""Folders of a login: made for us alone, and told to keep what was renamed in them. POSIX only."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_NO_SYNC = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
"""What a file system says that knows no sync of a folder."""


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, 0700 whatever the umask; one that is there stays as it is.

    `Path.mkdir` leaves the folders above to the umask. Source: R-FS-1.

    Raises:
        OSError: It cannot be made, or something else has its name.
    """
    try:
        _make_one(folder)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_folder(folder.parent)
        _make_one(folder)  # once: there are folders in which nothing can be made, and which say so in this way


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk.

    Raises:
        OSError: They may not be.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def _make_one(folder: Path) -> None:
    try:
        os.mkdir(folder, 0o700)
    except OSError:
        if not folder.is_dir():  # another process may have made it meanwhile
            raise
