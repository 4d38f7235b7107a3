"""Durable files of a login: old or new, never a part; nobody else's to read; nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
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
from understudy.credentials._folders import make_folder

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
    assert (mode(path), mode(path.parent), mode(tmp_path / "a")) == (0o600, 0o700, 0o700)
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


@pytest.mark.parametrize("private", [True, False])
def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path: Path, private: bool) -> None:
    """A pipe is not waited for, and neither a pipe nor a socket or a device gives way to a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    uses: list[Callable[..., object]] = [partial(read, pipe), partial(write, pipe, NEW)]
    for use in uses:
        with pytest.raises(UnsafeFileError, match="no ordinary file"):
            use(private=private)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    assert litter(tmp_path) == []


def test_the_command_that_mends_it_can_be_run(tmp_path: Path) -> None:
    """Also where the name has blanks."""
    path = tmp_path / "my login.json"
    path.write_bytes(OLD)
    path.chmod(0o644)
    with pytest.raises(UnsafeFileError) as refused:
        read(path, private=True)
    assert mend(refused.value, path).endswith(f"; run: chmod 600 '{path}'")


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


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_a_shared_file_stays_its_owners(store: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where a new file could not be given to the owner of the old one, the old one is rewritten: it is not taken."""
    store.chmod(0o640)
    inode = os.stat(store).st_ino
    failing(monkeypatch, "fchown", number)
    write(store, NEW, private=False)
    assert (store.read_bytes(), os.stat(store).st_ino, mode(store)) == (NEW, inode, 0o640)
    assert litter(store.parent) == []
    failing(monkeypatch, "open", errno.EACCES, when=lambda path, flags, *_: path == store and bool(flags & os.O_RDWR))
    with pytest.raises(OSError, match=os.strerror(number)):
        write(store, SHORT, private=False)
    assert (store.read_bytes(), os.stat(store).st_ino, litter(store.parent)) == (NEW, inode, [])


def test_no_mode_is_given_before_the_owner(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the new file still has our group, the bits of the old one's group would let in others."""
    store.chmod(0o660)
    seen = list[int]()
    real = os.fchown

    def fchown(descriptor: int, *owner: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor, *owner)

    monkeypatch.setattr(os, "fchown", fchown)
    write(store, NEW, private=False)
    assert seen == [0o600]
    assert mode(store) == 0o660


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    """One that is there keeps its mode, and a file in its place is an error."""
    tmp_path.chmod(0o755)
    make_folder(tmp_path)
    assert mode(tmp_path) == 0o755
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "below")


def test_a_folder_in_which_nothing_can_be_made_is_told() -> None:
    """Some say that there is no such folder, although the one above is there: that is said once, not tried for ever."""
    with pytest.raises(FileNotFoundError):
        make_folder(Path("/proc/understudy/below"))


@pytest.mark.parametrize("fails_at", range(1, 6))
def test_a_folder_that_somebody_else_makes_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Many processes begin at once: whichever call another one is ahead of, all of them get the folder."""
    real, calls = os.mkdir, 0
    path = tmp_path / "a" / "b" / "c"

    def mkdir(folder: Path, bits: int) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            for one in (path.parent.parent, path.parent, path):
                with suppress(FileExistsError):
                    real(one, 0o700)
        real(folder, bits)

    monkeypatch.setattr(os, "mkdir", mkdir)
    make_folder(path)
    assert path.is_dir()


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("in_place", [False, True])
def test_whichever_call_fails_the_file_is_old_or_new(
    store: Path, monkeypatch: pytest.MonkeyPatch, number: int, private: bool, in_place: bool
) -> None:
    """Only the n-th call of the system fails, for every n: JSON is left, no descriptor and no file; it is told."""
    monkeypatch.setattr(_files, "_is_mounted", lambda target: in_place)
    open_before, at, failed = len(os.listdir("/proc/self/fd")), 0, True
    while failed:
        at += 1
        problem = ""
        write(store, OLD, private=True)
        with monkeypatch.context() as broken:
            left = failing_once(broken, at, number)
            try:
                write(store, NEW, private=private)
            except OSError as error:
                problem = mend(error, store)
        failed = left[0] <= 0
        assert json.loads(store.read_bytes()) in (
            [json.loads(NEW)] if not problem else [json.loads(OLD), json.loads(NEW)]
        )
        assert mode(store) == 0o600
        assert litter(store.parent) == []
        assert len(os.listdir("/proc/self/fd")) <= open_before
        assert not problem or problem.startswith(f"{store}: {os.strerror(number)}; ")
    assert at > 10


def failing_once(monkeypatch: pytest.MonkeyPatch, at: int, number: int) -> list[int]:
    """Let the n-th call of the system fail; return the calls that are left until then."""
    left = [at]

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] != 0:
                return real(*arguments, **more)
            if name == "close":  # it frees the descriptor also where it fails
                real(*arguments)
            raise OSError(number, os.strerror(number))

        return call

    for name in (*CALLS, "fchown"):
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    return left


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_that_knows_no_such_call_is_no_fault(
    store: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Some can neither reserve room nor sync a folder: it is written all the same."""
    failing(monkeypatch, "posix_fallocate", number)
    failing(monkeypatch, "fsync", number, when=lambda descriptor: stat.S_ISDIR(os.fstat(descriptor).st_mode))
    write(store, NEW, private=True)
    assert store.read_bytes() == NEW


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


@pytest.mark.parametrize("in_place", [False, True])
def test_short_writes_go_on(store: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool) -> None:
    """A write that takes one byte at a time writes all of them."""
    monkeypatch.setattr(_files, "_is_mounted", lambda target: in_place)
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:1])))
    for data in (NEW, SHORT):
        write(store, data, private=True)
        assert store.read_bytes() == data


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("later", [False, True])
def test_a_full_disk_is_met_before_the_old_content_goes(
    store: Path, monkeypatch: pytest.MonkeyPatch, number: int, later: bool
) -> None:
    """In place, too: when a draft is opened, or if the disk has filled up since, the file stays as it was."""
    monkeypatch.setattr(_files, "_is_mounted", lambda target: True)
    real, room = os.write, len(OLD) + 5

    def full(descriptor: int, data: bytes) -> int:
        left = room - os.lseek(descriptor, 0, os.SEEK_CUR)
        if left <= 0:
            raise OSError(number, os.strerror(number))
        return real(descriptor, bytes(data[:left]))

    draft = Draft.open(store, size=len(NEW), private=True) if later else None
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=os.strerror(number)):
        if draft is None:
            Draft.open(store, size=len(NEW), private=True)
        else:
            with draft:
                draft.write(NEW)
    assert store.read_bytes() == OLD


@pytest.mark.processes
@pytest.mark.parametrize("in_place", [False, True])
def test_on_a_disk_that_is_really_full(monkeypatch: pytest.MonkeyPatch, in_place: bool) -> None:
    """The kernel says so when the draft is opened: nothing is lost, nothing left, and with room again it is written."""
    disk = Path(tempfile.mkdtemp())  # not in a folder of pytest's: whoever is killed here leaves it mounted
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("there is no mount")
    asked = [mount, "-t", "tmpfs", "-o", "size=64k,mode=700", "understudy", str(disk)]
    if subprocess.run(asked, check=False, capture_output=True).returncode != 0:
        pytest.skip("we may not mount")
    try:
        monkeypatch.setattr(_files, "_is_mounted", lambda target: in_place)
        store, ballast = disk / "login.json", disk / "ballast"
        write(store, OLD, private=True)
        with pytest.raises(OSError, match="No space left"), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(b" " * 4096)
        with pytest.raises(OSError, match="No space left") as refused:
            Draft.open(store, size=16 * 1024, private=True).discard()
        assert "free some space" in mend(refused.value, store)
        assert (store.read_bytes(), litter(disk)) == (OLD, [])
        ballast.unlink()
        write(store, NEW, private=True)
        assert (store.read_bytes(), litter(disk)) == (NEW, [])
    finally:
        subprocess.run([umount, "-l", str(disk)], check=True)  # also if the test failed with a file open there
        disk.rmdir()


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
    link = tmp_path / "link"
    link.symlink_to("/a b")
    assert _files._is_mounted(link / "auth.json")


@pytest.mark.processes
@pytest.mark.parametrize("data", [NEW, SHORT])
@pytest.mark.parametrize("in_place", [False, True])
def test_killed_at_every_call_the_file_is_old_or_new(tmp_path: Path, data: bytes, in_place: bool) -> None:
    """A process that is killed at its n-th call of the system, for every n, leaves JSON: the old, or the new."""
    contents, at, ended = set[bytes](), 0, -1
    while ended != 0:
        at += 1
        path = tmp_path / str(at) / "login.json"
        write(path, OLD, private=True)
        ended = killed_at(at, partial(write, path, data, private=True), in_place=in_place)
        left = path.read_bytes()
        assert json.loads(left) in (json.loads(OLD), json.loads(data))
        assert mode(path) == 0o600
        assert ended in (0, signal.SIGKILL)
        contents.add(left.rstrip())
    assert at > 10
    assert contents == {OLD.rstrip(), data.rstrip()}


@pytest.mark.processes
@pytest.mark.parametrize("is_busy", [False, True])
def test_killed_at_every_call_a_shared_file_is_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    """Hermes Agent's file, too, with its mode; also where it cannot be replaced, and is rewritten after all."""
    if is_busy:
        failing(monkeypatch, "replace", errno.EBUSY)
    contents, at, ended = set[bytes](), 0, -1
    while ended != 0:
        at += 1
        path = tmp_path / f"{at}.json"
        path.write_bytes(OLD)
        path.chmod(0o640)
        ended = killed_at(at, partial(write, path, NEW, private=False))
        assert ended in (0, signal.SIGKILL)
        left = path.read_bytes()
        assert json.loads(left) in (json.loads(OLD), json.loads(NEW))
        assert mode(path) == 0o640
        contents.add(left.rstrip())
    assert at > 10
    assert contents == {OLD.rstrip(), NEW.rstrip()}


@pytest.mark.processes
def test_killed_at_every_call_a_file_is_begun_whole_or_not(tmp_path: Path) -> None:
    """A process that is killed while it begins a file leaves none, or all of it; the next one gets a whole one."""
    seen, at, ended = set[bytes | None](), 0, -1
    while ended != 0:
        at += 1
        path = tmp_path / str(at) / "key"
        ended = killed_at(at, partial(create_once, path, b"first"))
        assert ended in (0, signal.SIGKILL)
        seen.add(read(path, private=True))
        assert create_once(path, b"second") == read(path, private=True)
    assert seen == {None, b"first"}


@pytest.mark.processes
def test_killed_at_every_call_a_file_is_there_or_removed(store: Path) -> None:
    """A process that is killed while it removes a file leaves it whole, or not at all."""
    seen, at, ended = set[bytes | None](), 0, -1
    while ended != 0:
        at += 1
        write(store, OLD, private=True)
        ended = killed_at(at, partial(remove, store))
        assert ended in (0, signal.SIGKILL)
        seen.add(read(store, private=True))
    assert seen == {None, OLD}


CALLS: tuple[str, ...] = (
    *("open", "close", "read", "write", "lseek", "fsync", "ftruncate", "posix_fallocate", "fchmod"),
    *("mkdir", "lstat", "fstat", "replace", "link", "unlink"),
)


def killed_at(at: int, work: Callable[[], object], *, in_place: bool = False) -> int:
    """Do some work in a child that is killed just before its n-th call of the system; return how it ended."""
    child = os.fork()
    if child == 0:
        _work_and_die(at, work, in_place=in_place)
    return os.waitpid(child, 0)[1]


def _work_and_die(at: int, work: Callable[[], object], *, in_place: bool) -> None:
    left = [at]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)

        return call

    _files._is_mounted = lambda target: in_place
    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    try:
        work()
    except BaseException:  # noqa: BLE001 - the tests that go on in the parent must not go on here
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("number", [*_files._REMEDIES, errno.EBADF])
def test_each_fault_names_a_remedy(number: int) -> None:
    """The path, what the system says, and what to do."""
    path = Path("/somewhere/login.json")
    said = mend(OSError(number, os.strerror(number)), path)
    assert said.startswith(f"{path}: {os.strerror(number)}; ")
    assert len(said.rpartition("; ")[2]) > 8
