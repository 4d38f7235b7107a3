"""`NOUS_WRITE_ENV_KEY`: one variable in somebody's `.env`, and nothing else of it."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from understudy.credentials import _env_file
from understudy.credentials._env_file import in_container, with_value, write_key

NAME = "LLM_NOUS_API_KEY"


@pytest.fixture(autouse=True)
def _no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a machine, also where the tests run in a container."""
    monkeypatch.setattr(_env_file, "_MARKS", ())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"{NAME}=new\n"),
        ("A=1", f"A=1\n{NAME}=new\n"),
        ("A=1\r\n", f"A=1\r\n{NAME}=new\r\n"),
        (f"# top\n{NAME}=old # why\nB=2\n", f"# top\n{NAME}=new\nB=2\n"),
        (f"export {NAME}='old'\n", f"export {NAME}=new\n"),
        (f"  {NAME} = old\n{NAME}=older\n", f"  {NAME}=new\n{NAME}=new\n"),
        (f"{NAME}=\r\nB=2\r\n", f"{NAME}=new\r\nB=2\r\n"),
        (f"'{NAME}'=old\n", f"{NAME}=new\n"),
        (f"A=1\r{NAME}=old\r", f"A=1\r{NAME}=new\r"),
        (f'{NAME}="two\nlines"\nB=2\n', f"{NAME}=new\nB=2\n"),
        (f'A="x\n{NAME}=inside\n"\n', f'A="x\n{NAME}=inside\n"\n{NAME}=new\n'),
        (f"A='it\\'s\n{NAME}=inside'\n{NAME}=old", f"A='it\\'s\n{NAME}=inside'\n{NAME}=new"),
        (f'A="open\n{NAME}=old\n', f'A="open\n{NAME}=new\n'),
        (f"# don't\n{NAME}=old # don't\n", f"# don't\n{NAME}=new\n"),
        (f"# {NAME}=x\n{NAME}_2=y\nX{NAME}=z\n", f"# {NAME}=x\n{NAME}_2=y\nX{NAME}=z\n{NAME}=new\n"),
    ],
)
def test_one_variable_is_set_and_all_else_stays(before: str, after: str) -> None:
    """Comments, line ends and other variables, byte for byte."""
    assert with_value(before, NAME, "new") == after
    assert with_value(after, NAME, "new") == after


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=40))
def test_what_is_written_is_read_back(value: str) -> None:
    """Whoever reads the file gets exactly the value."""
    text = with_value("A=1\n", NAME, value)
    assert dotenv_values(stream=io.StringIO(text), interpolate=False) == {"A": "1", NAME: value}


LINES = [
    "A=1",
    "A='x",
    'B="y',
    "it's\"",
    "'",
    '"',
    "# don't",
    "export C=\\'z",
    f"{NAME}=old",
    f"export {NAME}='old'",
    "",
]


@given(st.lists(st.sampled_from(LINES), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_whatever_stands_around_it_the_others_are_read_as_before(lines: list[str], newline: str) -> None:
    """Also among quotes that are never closed: one variable changes for whoever reads the file, and no other."""
    text = newline.join(lines)
    before = dotenv_values(stream=io.StringIO(text, newline=""), interpolate=False)
    after = dotenv_values(stream=io.StringIO(with_value(text, NAME, "new"), newline=""), interpolate=False)
    assert after == {**before, NAME: "new"}


@pytest.mark.parametrize(
    ("env", "files", "is_inside"),
    [
        ({}, [], False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, [], True),
        ({"container": "podman"}, [], True),
        ({"container": ""}, [], False),
        ({}, ["/.dockerenv"], True),
        ({}, ["/run/.containerenv"], True),
    ],
)
def test_what_a_container_is_known_by(
    env: dict[str, str], files: list[str], is_inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files and its variables."""
    monkeypatch.setattr(_env_file, "_MARKS", ("/.dockerenv", "/run/.containerenv"))
    assert in_container(env, lambda path: path in files) is is_inside


def test_a_file_that_is_there_is_written(tmp_path: Path) -> None:
    """It ends as 0600; one that says so already is not touched."""
    path = tmp_path / ".env"
    path.write_bytes("A=ä\r\n".encode())
    path.chmod(0o644)
    assert write_key(path, NAME, "new", {}) == ""
    assert path.read_bytes() == f"A=ä\r\n{NAME}=new\r\n".encode()
    assert os.stat(path).st_mode & 0o777 == 0o600
    inode = os.stat(path).st_ino
    assert write_key(path, NAME, "new", {}) == ""
    assert os.stat(path).st_ino == inode


def test_the_mark_of_an_editor_stays(tmp_path: Path) -> None:
    """A file in UTF-8 that begins with a mark still does, also where the variable comes first."""
    path = tmp_path / ".env"
    path.write_bytes(b"\xef\xbb\xbf" + f"{NAME}=old\n".encode())
    assert write_key(path, NAME, "new", {}) == ""
    assert path.read_bytes() == b"\xef\xbb\xbf" + f"{NAME}=new\n".encode()


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    """Some programs serve a `.env` through a pipe: it is neither waited for, nor replaced, nor its mode changed."""
    path = tmp_path / ".env"
    os.mkfifo(path, 0o644)
    assert write_key(path, NAME, "new", {}).startswith(f"{path}: it is no ordinary file; ")
    assert stat.S_ISFIFO(os.stat(path).st_mode)
    assert os.stat(path).st_mode & 0o777 == 0o644


@pytest.mark.parametrize(("call", "number"), [("open", errno.EACCES), ("chmod", errno.EPERM)])
def test_a_file_that_we_may_not_use_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """Whether we may not read it, or it belongs to somebody else: it stays, and what to do is said."""
    path = tmp_path / ".env"
    path.write_text("A=1\n")

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, refused)
        said = write_key(path, NAME, "canary", {})
    assert said.startswith(f"{path}: {os.strerror(number)}; let the user who runs this")
    assert path.read_text() == "A=1\n"
    assert os.listdir(tmp_path) == [".env"]


def test_what_is_not_written_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container, no file, one that is not text, one that cannot be written: one line each, the file as it was."""
    path = tmp_path / ".env"
    assert write_key(path, NAME, "new", {}) == f"{path} is not there; it is never created"
    assert not path.exists()
    path.write_bytes(b"\xff\xfe")
    assert write_key(path, NAME, "new", {}) == f"{path} is not UTF-8"
    assert write_key(path, NAME, "new", {"container": "x"}) == f"{path} is not written inside a container"
    path.write_text("A=1\n")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert write_key(path, NAME, "canary", {}) == f"{path}: No space left on device; free some space there"
    assert path.read_text() == "A=1\n"
