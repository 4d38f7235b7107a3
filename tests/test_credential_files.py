"""Durable files of a login: old or new, never a part; nobody else's to read; nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from understudy.credentials import _files
from understudy.credentials._files import (
    Draft,
    UnsafeFileError,
    create_once,
    mend,
    read,
    remove,
    write,
)

OLD, NEW = b'{"token": "old"}\n', b'{"token": "new", "and": "longer than before"}\n'
SHORT = b'{"t": 1}\n'


def mode(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(os.stat(path).st_mode)


def litter(folder: Path) -> list[str]:
    """Return the temporary files that are left."""
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A private file with the old content."""
    path = tmp_path / "login.json"
    write(path, OLD, private=True)
    return path


def failing(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, *, when: Callable[..., bool] = lambda *_: True
) -> None:
    """Let a function of the operating system fail."""
    real = getattr(os, name)

    def fails(*arguments: Any, **more: Any) -> Any:
        if when(*arguments):
            raise OSError(number, os.strerror(number))
        return real(*arguments, **more)

    monkeypatch.setattr(os, name, fails)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A private file and its folders are made for us alone, whatever the umask."""
    before = os.umask(0)
    try:
        path = tmp_path / "a" / "b" / "login.json"
        write(path, NEW, private=True)
    finally:
        os.umask(before)
    assert read(path, private=True) == NEW
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    write(path, SHORT, private=True)
    assert read(path, private=True) == SHORT
    assert litter(path.parent) == []


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    """Neither a file nor its folder need be there."""
    assert read(tmp_path / "none", private=True) is None
    assert read(tmp_path / "no" / "folder", private=False) is None
    (tmp_path / "file").touch()
    assert read(tmp_path / "file" / "below", private=False) is None
    remove(tmp_path / "none")
    remove(tmp_path / "no" / "folder")


def test_a_file_is_removed(store: Path) -> None:
    """And stays so."""
    remove(store)
    assert not store.exists()


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o666, 0o620])
def test_a_private_file_that_others_may_use_is_refused(store: Path, bits: int) -> None:
    """Reading and writing it are refused; the command that mends it is told."""
    store.chmod(bits)
    uses: list[Callable[..., object]] = [partial(read, store), partial(write, store, NEW)]
    for use in uses:
        with pytest.raises(UnsafeFileError) as refused:
            use(private=True)
        assert mend(refused.value, store) == f"{store}: others may read or write it; run: chmod 600 {store}"
    assert store.read_bytes() == OLD
    assert read(store, private=False) == OLD


def test_a_private_file_is_no_link_and_no_folder(tmp_path: Path, store: Path) -> None:
    """A link may lead anywhere."""
    link = tmp_path / "link"
    link.symlink_to(store)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (link, folder):
        with pytest.raises(OSError, match=r"it is a link|no ordinary file|Is a directory"):
            read(path, private=True)
        with pytest.raises(UnsafeFileError):
            write(path, NEW, private=True)
    assert store.read_bytes() == OLD


def test_somebody_elses_file_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private file belongs to us, unless we are root."""
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(store).st_uid + 1)
    with pytest.raises(UnsafeFileError, match="belongs to somebody else"):
        read(store, private=True)


def test_a_shared_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    """It is written through a link; the mode that somebody gave it stays, a new one is 0600."""
    target, link = tmp_path / "real" / "auth.json", tmp_path / "auth.json"
    target.parent.mkdir()
    target.write_bytes(OLD)
    target.chmod(0o640)
    link.symlink_to(target)
    write(link, NEW, private=False)
    assert link.is_symlink()
    assert (target.read_bytes(), mode(target)) == (NEW, 0o640)
    write(tmp_path / "new.json", NEW, private=False)
    assert mode(tmp_path / "new.json") == 0o600
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "no" / "folder.json", NEW, private=False)


def test_a_long_file_is_not_read(tmp_path: Path) -> None:
    """More than a megabyte is no login."""
    path = tmp_path / "long"
    path.write_bytes(b" " * (_files.LARGEST + 1))
    with pytest.raises(OSError, match="too large") as refused:
        read(path, private=False)
    assert refused.value.errno == errno.EFBIG


def test_a_draft_that_is_discarded_leaves_everything(store: Path) -> None:
    """Room was held, and is given back; doing so twice does nothing."""
    draft = Draft.open(store, size=100_000, private=True)
    assert len(litter(store.parent)) == 1
    draft.discard()
    draft.discard()
    assert (store.read_bytes(), litter(store.parent)) == (OLD, [])


def test_what_was_there_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that begin a file, both get what the first has put there."""
    path = tmp_path / "folder" / "key"
    assert create_once(path, b"first") == b"first"
    assert create_once(path, b"second") == b"first"
    assert mode(path) == 0o600
    other = tmp_path / "other"
    real = os.link

    def late(*arguments: Any) -> None:
        other.write_bytes(b"theirs")
        other.chmod(0o600)
        real(*arguments)

    monkeypatch.setattr(os, "link", late)
    assert create_once(other, b"ours") == b"theirs"
    assert litter(tmp_path) == []


STEPS = ["open", "fchmod", "posix_fallocate", "write", "ftruncate", "fsync", "lseek", "read", "replace"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("private", [True, False])
def test_whatever_fails_the_file_is_whole(
    store: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, private: bool
) -> None:
    """Each step of a write fails in each way: the old content stands, or the new one; nothing is left; it is told."""
    with monkeypatch.context() as broken:
        failing(broken, step, number)
        problem = ""
        try:
            write(store, NEW, private=private)
        except OSError as error:
            problem = mend(error, store)
    assert store.read_bytes() == (OLD if problem else NEW)
    assert litter(store.parent) == []
    if problem:
        assert problem.startswith(f"{store}: {os.strerror(number)}; ")
    else:  # a folder that refuses the file is got round, by rewriting in place
        assert step == "fchmod"
        assert number in {errno.EROFS, errno.EACCES}


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_folder_that_cannot_be_synced_is_told(store: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    """Of two syncs the second is the folder's: the new content is there by then, but nobody says that it lasts."""
    real, calls = os.fsync, list[int]()

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == fails_at:
            raise OSError(errno.EIO, "I/O error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="I/O error"):
        write(store, NEW, private=True)
    assert store.read_bytes() == (OLD if fails_at == 1 else NEW)
    assert litter(store.parent) == []


def test_short_writes_go_on(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes one byte at a time writes all of them."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:1])))
    write(store, NEW, private=True)
    assert store.read_bytes() == NEW


def test_what_reads_back_differently_is_an_error(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that lies is found out before the old content goes."""
    monkeypatch.setattr(os, "read", lambda descriptor, most: b"")
    with pytest.raises(OSError, match="reads back differently"):
        write(store, NEW, private=True)
    monkeypatch.undo()
    assert store.read_bytes() == OLD


@pytest.mark.parametrize("data", [NEW, SHORT])
@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_a_file_that_cannot_be_replaced_is_rewritten(
    store: Path, monkeypatch: pytest.MonkeyPatch, number: int, data: bytes
) -> None:
    """In place, as a file that is mounted into a container needs it: the same file, the new content, whole."""
    inode = os.stat(store).st_ino
    failing(monkeypatch, "replace", number)
    write(store, data, private=True)
    assert (store.read_bytes(), os.stat(store).st_ino, litter(store.parent)) == (data, inode, [])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_folder_that_takes_no_file_has_it_rewritten(
    store: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The folder may be written by nobody, and the file still be."""
    failing(monkeypatch, "open", number, when=lambda path, *_: str(path).endswith(".tmp"))
    write(store, NEW, private=True)
    assert store.read_bytes() == NEW


def test_a_mounted_file_is_never_replaced(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is a mount of its own is rewritten in place; if it is read-only, that is known before any POST."""
    monkeypatch.setattr(_files, "_is_mounted", lambda target: True)
    inode = os.stat(store).st_ino
    write(store, SHORT, private=True)
    assert (store.read_bytes(), os.stat(store).st_ino) == (SHORT, inode)
    failing(monkeypatch, "open", errno.EROFS, when=lambda path, flags, *_: bool(flags & os.O_RDWR))
    with pytest.raises(OSError, match="Read-only") as refused:
        Draft.open(store, size=10, private=True)
    assert "mount it writable" in mend(refused.value, store)


def test_what_is_mounted_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The table of mounts has blanks escaped."""
    table = tmp_path / "mountinfo"
    table.write_bytes(b"1 2 0:1 / /a\\040b/auth.json rw - ext4 x rw\n")
    real = open
    monkeypatch.setattr("builtins.open", lambda path, *more: real(table if "mountinfo" in str(path) else path, *more))
    assert _files._is_mounted(Path("/a b/auth.json"))
    assert not _files._is_mounted(Path("/a b"))


@pytest.mark.processes
@pytest.mark.parametrize("data", [NEW, SHORT])
@pytest.mark.parametrize("in_place", [False, True])
def test_killed_at_every_call_the_file_is_old_or_new(tmp_path: Path, data: bytes, in_place: bool) -> None:
    """A process that is killed at its n-th call of the system, for every n, leaves JSON: the old, or the new."""
    names = ("open", "fchmod", "posix_fallocate", "write", "ftruncate", "fsync", "lseek", "read", "replace", "close")
    contents, at, ended = set[bytes](), 0, -1
    while ended != 0:
        at += 1
        path = tmp_path / str(at) / "login.json"
        write(path, OLD, private=True)
        child = os.fork()
        if child == 0:
            _write_and_die(path, data, names, at, in_place=in_place)
        ended = os.waitpid(child, 0)[1]
        left = path.read_bytes()
        assert json.loads(left) in (json.loads(OLD), json.loads(data))
        assert mode(path) == 0o600
        contents.add(left.rstrip())
    assert at > 10
    assert contents == {OLD.rstrip(), data.rstrip()}


def _write_and_die(path: Path, data: bytes, names: tuple[str, ...], at: int, *, in_place: bool) -> None:
    """In a child: write, and be killed at the n-th call."""
    left = [at]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)

        return call

    if in_place:
        _files._is_mounted = lambda target: True
    for name in names:
        setattr(os, name, counted(getattr(os, name)))
    write(path, data, private=True)
    os._exit(0)


@pytest.mark.parametrize("number", [*_files._REMEDIES, errno.EBADF])
def test_each_fault_names_a_remedy(number: int) -> None:
    """The path, what the system says, and what to do."""
    path = Path("/somewhere/login.json")
    said = mend(OSError(number, os.strerror(number)), path)
    assert said.startswith(f"{path}: {os.strerror(number)}; ")
    assert len(said.rpartition("; ")[2]) > 8
