"""Durable files: what is written stands on the disk, whole, or everything is as it was. POSIX only.

    open    a temporary file beside the target, with room for what will come          nothing has changed yet
    write   content, fsync, read back, rename over the target, fsync of the folder    old or new, never a part

Where the folder cannot be written, the file is a mount of its own and cannot be replaced, or a new one could not belong
to whom the old one does, it is rewritten in place, on a handle that was open from the start. The file first grows by
white space to what it will need, so that a full disk is met while the old content stands; then the content goes over
it by one write, shorter content filled up with white space. So it is JSON at every kill between two calls.

Plain functions, run in a worker thread.

Source: R-FS-1, R-FS-2, R-CRED-4; github.com/NousResearch/hermes-agent, `utils.py` (in place for single files that are
mounted into a container).
"""

from __future__ import annotations

import errno
import glob
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import final

from ._folders import make_folder, sync_folder

LARGEST = 1024 * 1024
"""Bytes of a store that are read (chosen: those seen have a few thousand)."""

_NO_ROOM_AHEAD = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_NO_FOLDER = frozenset({errno.EACCES, errno.EROFS, errno.EPERM})
_NO_RENAME = frozenset({errno.EBUSY, errno.EXDEV})
_NO_OWNER = frozenset({errno.EPERM, errno.EINVAL})
"""What `fchown` says of an owner that we may not name, or that this container does not know."""

_IN_PLACE = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


@final
class UnsafeFileError(OSError):
    """A file that others may read, that is not ours, or is no file at all. The text says how to mend it."""

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        super().__init__(errno.EPERM, f"{problem}; {remedy}", str(path))


def read(path: Path, *, private: bool) -> bytes | None:
    """Return what a file holds; None if there is none.

    Args:
        private: It is our own: it must belong to us, be no link, and be nobody else's to read.

    Raises:
        UnsafeFileError: It is not as private as it must be, or is a pipe or a device.
        OSError: It is there and cannot be read, or is longer than 1 MiB.
    """
    # a pipe is opened without waiting for who writes to it, so that it can be refused
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if private else 0)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if private and error.errno == errno.ELOOP:
            raise _is_link(path) from None
        raise
    try:
        _check(path, os.fstat(descriptor), private=private)
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
    sync_folder(path.parent)


def drafts(path: Path) -> list[Path]:
    """Return what was not renamed to this file: by whoever is writing it now, or by a process that was killed."""
    return list(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


def remove_drafts(path: Path) -> None:
    """Remove what a process left beside a file that was killed while it wrote. Nobody may be writing it now."""
    for draft in drafts(path):
        with suppress(OSError):
            os.unlink(draft)


def create_once(path: Path, data: bytes) -> bytes:
    """Make a private file with this content if there is none; return what it holds, ours or whoever's was first."""
    found = read(path, private=True)
    if found is not None:
        return found
    make_folder(path.parent)
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
    sync_folder(path.parent)
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
        """Hold room for `size` bytes; for a file that can only be rewritten in place, see that there is room now.

        Raises:
            UnsafeFileError: A private file that is not as private as it must be; a pipe, a device or a folder.
            OSError: The file could not be written: nothing has changed.
        """
        target = path if private else Path(os.path.realpath(path))
        if private:
            make_folder(path.parent)
        found = _lstat(target)
        if found is None:
            temporary, descriptor = _temporary(target)
            return cls(target, temporary, descriptor, None)._with_room(size)
        _check(target, found, private=private)
        spare = _opened_in_place(target)
        if _is_mounted(target):
            in_place = os.open(target, _IN_PLACE) if spare is None else spare  # this time the reason is told
            return cls(target, None, in_place, None)._with_room(size)
        try:
            temporary, descriptor = _temporary(target)
        except OSError as error:
            if spare is None or error.errno not in _NO_FOLDER:
                _close(spare)
                raise
            return cls(target, None, spare, None)._with_room(size)
        draft = cls(target, temporary, descriptor, spare)
        return draft._with_room(size) if private else draft._like(found)._with_room(size)

    def write(self, data: bytes) -> None:
        """Make `data` the content, durably.

        Raises:
            OSError: It is not: the old content stands. What stands after the sync of the folder failed is the new one;
                where the disk failed while the file was rewritten in place, neither may be whole.
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
        sync_folder(self._target.parent)

    def discard(self) -> None:
        """Leave nothing behind. Doing so twice does nothing."""
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            _discard(temporary)
        descriptor, self._descriptor = self._descriptor, -1
        spare, self._spare = self._spare, None
        _close(descriptor if descriptor >= 0 else None)
        _close(spare)

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()

    def _with_room(self, size: int) -> Draft:
        """Reserve the room, or close everything."""
        try:
            if self._temporary is not None:
                _reserve(self._descriptor, size)
            else:
                before = _grow(self._descriptor, size)
                os.ftruncate(self._descriptor, before)
        except BaseException:
            self.discard()
            raise
        return self

    def _like(self, found: os.stat_result) -> Draft:
        """Give the new file the owner and the mode of the old one; where that may not be, rewrite the old one.

        The mode comes last: until the group is right, its bits would let in others than before.
        """
        try:
            os.fchown(self._descriptor, found.st_uid, found.st_gid)
            os.fchmod(self._descriptor, stat.S_IMODE(found.st_mode))
        except OSError as error:
            spare, self._spare = self._spare, None
            self.discard()
            if spare is None or error.errno not in _NO_OWNER:
                _close(spare)
                raise
            return Draft(self._target, None, spare, None)
        return self

    def _rewrite(self, descriptor: int, data: bytes) -> None:
        before = _grow(descriptor, len(data))
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


def _check(path: Path, found: os.stat_result, *, private: bool) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise _is_link(path)
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeFileError(path, "it is no ordinary file", "move it away, or name another one")
    if not private:
        return
    quoted = shlex.quote(str(path))
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        raise UnsafeFileError(path, "it belongs to somebody else", f"run: chown $(id -u) {quoted}")
    if found.st_mode & 0o077:
        raise UnsafeFileError(path, "others may read or write it", f"run: chmod 600 {quoted}")


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


def _grow(descriptor: int, size: int) -> int:
    """Let white space take the room that a file has not yet; return how long it was.

    Without that room the file is as it was. `posix_fallocate` would fill up with zeros, which is no JSON.
    """
    before = os.fstat(descriptor).st_size
    try:
        if size > before:
            os.lseek(descriptor, before, os.SEEK_SET)
            _write_all(descriptor, b"\n" * (size - before))
            os.fsync(descriptor)  # some file systems find out only now
    except OSError:
        os.ftruncate(descriptor, before)
        raise
    return before


def _opened_in_place(target: Path) -> int | None:
    try:
        return os.open(target, _IN_PLACE)
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
    name = os.fsencode(os.path.realpath(target))
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


def _discard(temporary: Path) -> None:
    with suppress(OSError):
        os.unlink(temporary)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        with suppress(OSError):  # what was synced stays, and a fault before this one is the one to tell
            os.close(descriptor)
