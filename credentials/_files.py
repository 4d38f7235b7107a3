"""Durable files: what is written stands on the disk, whole, or everything is as it was. POSIX only.

    open    a temporary file beside the target, with room for what will come          nothing has changed yet
    write   content, fsync, read back, rename over the target, fsync of the folder    old or new, never a part

Where the folder cannot be written, or the file is a mount of its own and cannot be replaced, it is rewritten in place,
by one write on a handle that was open from the start; shorter content is filled up with white space, so that it is JSON
even if the process dies before the file is cut. Plain functions, run in a worker thread.

Source: R-FS-1, R-FS-2, R-CRED-4; github.com/NousResearch/hermes-agent, `utils.py` (in place for single files that are
mounted into a container).
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import final

LARGEST = 1024 * 1024
"""Bytes of a store that are read (chosen: those seen have a few thousand)."""

_NO_ROOM_AHEAD = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_NO_FOLDER = frozenset({errno.EACCES, errno.EROFS, errno.EPERM})
_NO_RENAME = frozenset({errno.EBUSY, errno.EXDEV})


@final
class UnsafeFileError(OSError):
    """A file of ours that others may read, or that is not ours. The text says how to mend it."""

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        super().__init__(errno.EPERM, f"{problem}; {remedy}", str(path))


def read(path: Path, *, private: bool) -> bytes | None:
    """Return what a file holds; None if there is none.

    Args:
        private: It is our own: it must belong to us, be no link, and be nobody else's to read.

    Raises:
        UnsafeFileError: It is not as private as it must be.
        OSError: It is there and cannot be read, or is longer than 1 MiB.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_NOFOLLOW if private else 0)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if private and error.errno == errno.ELOOP:
            raise _is_link(path) from None
        raise
    try:
        if private:
            _check_private(path, os.fstat(descriptor))
        data = _read_all(descriptor, LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def write(path: Path, data: bytes, *, private: bool) -> None:
    """Make `data` the content of a file, durably; see `Draft`."""
    with Draft.open(path, size=len(data), private=private) as draft:
        draft.write(data)


def remove(path: Path) -> None:
    """Remove a file, durably; it need not be there."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    _sync_folder(path.parent)


def create_once(path: Path, data: bytes) -> bytes:
    """Make a private file with this content if there is none; return what it holds, ours or whoever's was first."""
    found = read(path, private=True)
    if found is not None:
        return found
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary, descriptor = _temporary(path)
    try:
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        _discard(temporary)
    _sync_folder(path.parent)
    return read(path, private=True) or data


@final
class Draft:
    """A place for a file's next content, held open before that is known. One `write`, then it is used up.

    A private file is ours alone: 0600, no link. Any other keeps its mode, its owner and the link that leads to it.
    """

    def __init__(self, target: Path, temporary: Path | None, descriptor: int, spare: int | None) -> None:
        self._target, self._temporary, self._descriptor, self._spare = target, temporary, descriptor, spare

    @classmethod
    def open(cls, path: Path, *, size: int, private: bool) -> Draft:
        """Hold room for `size` bytes.

        Raises:
            UnsafeFileError: A private file that is not as private as it must be.
            OSError: The file could not be written: nothing has changed.
        """
        target = path if private else Path(os.path.realpath(path))
        if private:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = _lstat(target)
        if private and found is not None:
            _check_private(path, found)
        spare = _opened_in_place(target) if found is not None else None
        if found is not None and _is_mounted(target):
            if spare is None:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(target))
            return cls(target, None, spare, None)
        try:
            temporary, descriptor = _temporary(target)
        except OSError as error:
            if spare is None or error.errno not in _NO_FOLDER:
                _close(spare)
                raise
            return cls(target, None, spare, None)
        draft = cls(target, temporary, descriptor, spare)
        try:
            if not private and found is not None:
                os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
                with suppress(PermissionError):
                    os.fchown(descriptor, found.st_uid, found.st_gid)
            _reserve(descriptor, size)
        except BaseException:
            draft.discard()
            raise
        return draft

    def write(self, data: bytes) -> None:
        """Make `data` the content, durably.

        Raises:
            OSError: It is not: the old content stands, but where it was rewritten in place it may be either.
        """
        if self._temporary is None:
            self._rewrite(self._descriptor, data)
            return
        _write_all(self._descriptor, data)
        os.ftruncate(self._descriptor, len(data))
        os.fsync(self._descriptor)
        self._read_back(self._descriptor, data)
        try:
            os.replace(self._temporary, self._target)
        except OSError as error:
            if self._spare is None or error.errno not in _NO_RENAME:
                raise
            self._rewrite(self._spare, data)
            return
        self._temporary = None
        _sync_folder(self._target.parent)

    def discard(self) -> None:
        """Leave nothing behind. Doing so twice does nothing."""
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            _discard(temporary)
        descriptor, self._descriptor = self._descriptor, -1
        spare, self._spare = self._spare, None
        if descriptor >= 0:
            os.close(descriptor)
        _close(spare)

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()

    def _rewrite(self, descriptor: int, data: bytes) -> None:
        before = os.fstat(descriptor).st_size
        padded = data.ljust(before, b"\n")  # white space behind JSON is nothing
        os.lseek(descriptor, 0, os.SEEK_SET)
        _write_all(descriptor, padded)
        os.fsync(descriptor)
        os.ftruncate(descriptor, len(data))
        os.fsync(descriptor)
        self._read_back(descriptor, data)

    def _read_back(self, descriptor: int, data: bytes) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        if _read_all(descriptor, len(data) + 1) != data:
            raise OSError(errno.EIO, "what was written reads back differently", str(self._target))


_REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EROFS: "mount it writable, or let another host renew the login",
    errno.EACCES: "let the user who runs this read and write the file and its folder",
    errno.EPERM: "let the user who runs this read and write the file and its folder",
    errno.EIO: "check the disk",
    errno.EMFILE: "allow more open files with ulimit -n",
    errno.ENFILE: "allow more open files",
    errno.ENOENT: "make the folder, or name another one",
    errno.ENOTDIR: "name a file in a folder",
    errno.EISDIR: "name a file, not a folder",
    errno.EFBIG: "that is no login",
}


def mend(error: OSError, path: Path) -> str:
    """Return in one line which file is meant, what the system said of it, and what to do."""
    if isinstance(error, UnsafeFileError):
        return f"{path}: {error.strerror}"
    said = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "check the file and its folder")
    return f"{path}: {said}; {remedy}"


def _check_private(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _is_link(path)
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeFileError(path, "it is no ordinary file", "move it away")
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        raise UnsafeFileError(path, "it belongs to somebody else", f"chown it to yourself: chown $(id -u) {path}")
    if found.st_mode & 0o077:
        raise UnsafeFileError(path, "others may read or write it", f"run: chmod 600 {path}")


def _is_link(path: Path) -> UnsafeFileError:
    return UnsafeFileError(path, "it is a link", "name the file that it leads to")


def _temporary(target: Path) -> tuple[Path, int]:
    temporary = target.parent / f".{target.name}.{token_hex(8)}.tmp"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # whatever the umask has left
    except BaseException:
        os.close(descriptor)
        _discard(temporary)
        raise
    return temporary, descriptor


def _reserve(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, max(size, 1))
    except OSError as error:
        if error.errno not in _NO_ROOM_AHEAD:
            raise


def _opened_in_place(target: Path) -> int | None:
    try:
        return os.open(target, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_mounted(target: Path) -> bool:
    """Say whether a file is a mount of its own, as one is that was mounted into a container."""
    try:
        with open("/proc/self/mountinfo", "rb") as table:
            points = {line.split(b" ")[4] for line in table if line.count(b" ") > 4}
    except OSError:
        return False
    name = os.fsencode(target)
    for sign in (b"\\", b" ", b"\t", b"\n"):
        name = name.replace(sign, b"\\%03o" % sign[0])
    return name in points


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _read_all(descriptor: int, most: int) -> bytes:
    parts: list[bytes] = []
    while most > 0 and (part := os.read(descriptor, most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_ROOM_AHEAD:  # a file system that knows no such thing
            raise
    finally:
        os.close(descriptor)


def _discard(temporary: Path) -> None:
    with suppress(OSError):
        os.unlink(temporary)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
