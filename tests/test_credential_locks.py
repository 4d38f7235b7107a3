"""Locks between processes: taken in order, waited for by the clock, freed on every way out."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from understudy.credentials._locks import locked

pytestmark = pytest.mark.anyio


@contextmanager
def held_by_a_peer(path: Path) -> Iterator[int]:
    """Hold a lock as another program does: by `flock` on a descriptor of its own."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_free(path: Path) -> bool:
    """Say whether nobody holds a lock."""
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


async def test_a_lock_names_its_holder_and_stays(tmp_path: Path) -> None:
    """The file is made for us alone, holds our process while it is held, and is never removed."""
    path = tmp_path / "upper" / "folder" / "auth.lock"
    async with locked([path], within=1) as is_ours:
        assert is_ours
        assert not is_free(path)
        assert path.read_text() == f"{os.getpid()}\n"
    assert is_free(path)
    assert path.read_text() == ""
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert {os.stat(folder).st_mode & 0o777 for folder in (path.parent, path.parent.parent)} == {0o700}


@pytest.mark.parametrize(("after", "within", "taken"), [(14.0, 20.0, True), (25.0, 20.0, False), (0.3, 0.0, False)])
async def test_a_peers_lock_is_waited_for(tmp_path: Path, after: float, within: float, taken: bool) -> None:
    """It is asked for every 50 ms until it is free, or the time is over; then nothing is held."""
    first, second = tmp_path / "auth.lock", tmp_path / "nous_auth.lock"
    async with anyio.create_task_group() as tasks:

        async def peer() -> None:
            with held_by_a_peer(second):
                await anyio.sleep(after)

        tasks.start_soon(peer)
        await anyio.wait_all_tasks_blocked()
        async with locked([first, second], within=within) as is_ours:
            assert is_ours is taken
            assert is_free(first) is not taken
            assert anyio.current_time() == pytest.approx(after if taken else within, abs=0.06)
        assert is_free(first)
        tasks.cancel_scope.cancel()


async def test_whoever_is_cancelled_while_waiting_holds_nothing(tmp_path: Path) -> None:
    """Neither the lock that was waited for nor those before it."""
    first, second = tmp_path / "a.lock", tmp_path / "b.lock"
    with held_by_a_peer(second):
        with anyio.move_on_after(3) as scope:
            async with locked([first, second], within=20):
                pytest.fail("nobody holds it")
        assert scope.cancelled_caught
        assert anyio.current_time() == 3
        assert is_free(first)
    assert is_free(second)


async def test_whoever_is_cancelled_while_holding_frees_them(tmp_path: Path) -> None:
    """All of them, and their files name nobody."""
    paths = [tmp_path / "a.lock", tmp_path / "b.lock"]
    with anyio.move_on_after(3) as scope:
        async with locked(paths, within=20):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert [(is_free(path), path.read_text()) for path in paths] == [(True, "")] * 2


async def test_two_tasks_of_one_process_take_turns(tmp_path: Path) -> None:
    """Each has a description of its own, so that the lock holds between them, too."""
    path, inside, most = tmp_path / "a.lock", 0, 0

    async def take() -> None:
        nonlocal inside, most
        async with locked([path], within=60) as is_ours:
            assert is_ours
            inside += 1
            most = max(most, inside)
            await anyio.sleep(1)
            inside -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(take)
    assert most == 1


async def test_what_is_raised_inside_frees_the_lock(tmp_path: Path) -> None:
    """Whatever that is."""
    path = tmp_path / "a.lock"
    with pytest.raises(RuntimeError, match="mine"):
        async with locked([path], within=1):
            raise RuntimeError("mine")
    assert is_free(path)


async def test_other_faults_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks, a folder that is none: an error, not a wait; and no descriptor is left."""
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"exists|directory"):
        async with locked([tmp_path / "file" / "a.lock"], within=1):
            pytest.fail("there is no such lock")

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(OSError, match="No locks"):
        async with locked([tmp_path / "a.lock"], within=1):
            pytest.fail("there are no locks")
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_file_outlives_its_holders(tmp_path: Path) -> None:
    """It is the same file for everybody, ever: one that was removed and made anew would be held by two."""
    path = tmp_path / "a.lock"
    path.touch()
    inode = os.stat(path).st_ino
    for _ in range(2):
        async with locked([path], within=1):
            assert os.stat(path).st_ino == inode
        with held_by_a_peer(path):
            async with locked([path], within=1) as is_ours:
                assert not is_ours
    assert os.stat(path).st_ino == inode


async def test_whoever_waits_leaves_the_holders_name(tmp_path: Path) -> None:
    """Only who holds a lock writes into its file."""
    path = tmp_path / "a.lock"
    path.write_text("4711\n")
    with held_by_a_peer(path):
        async with locked([path], within=1) as is_ours:
            assert not is_ours
    assert path.read_text() == "4711\n"


async def test_a_name_that_cannot_be_written_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the lock holds all the same; it is only harder to see whose it is."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.lock"
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        broken.setattr(os, "ftruncate", full)
        async with locked([path], within=1) as is_ours:
            assert is_ours
            assert not is_free(path)
    assert is_free(path)


@pytest.mark.processes
async def test_a_child_that_was_forked_does_not_keep_it(tmp_path: Path) -> None:
    """A copy of the descriptor in a child holds nothing once we have let go."""
    path = tmp_path / "a.lock"
    read, write = os.pipe()
    async with locked([path], within=1):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)  # until the parent is done
            os._exit(0)
    assert is_free(path)
    os.close(write)
    os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
    os.close(read)


@pytest.mark.processes
async def test_a_process_that_is_killed_frees_it(tmp_path: Path) -> None:
    """The kernel does."""
    path = tmp_path / "a.lock"
    program = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(60)"
    )
    async with await anyio.open_process([sys.executable, "-c", program, str(path)]) as process:
        assert process.stdout is not None
        await process.stdout.receive()
        async with locked([path], within=0.1) as is_ours:
            assert not is_ours
        process.kill()
        async with locked([path], within=10) as is_ours:
            assert is_ours
