"""The gateway's token: given or made, kept where only we read it, and shown nowhere."""

from __future__ import annotations

import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from pydantic import SecretStr

from understudy.gateway import GatewayToken, gateway_token, held_token
from understudy.gateway._token import VARIABLE, weakness
from understudy.providers import ConfigurationError

Look: TypeAlias = Callable[..., GatewayToken | None]

GOOD = "pJ3v0nR8sXq1ZtLw5yBfKc7hAe2gUdMo9iNrTbVx4kE"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file in folders that are not there yet."""
    return tmp_path / "deep" / "er" / "gateway_token"


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run under each umask."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_token_that_is_given_is_taken(path: Path) -> None:
    """As it is, and no file is made."""
    token = gateway_token(SecretStr(GOOD), path, beyond_loopback=True)
    assert (token.secret.get_secret_value(), token.source) == (GOOD, VARIABLE)
    assert not path.parent.exists()


def test_one_is_made_on_the_first_start_and_kept(path: Path, umask: int) -> None:
    """32 random bytes, in a file that only we read, in folders that only we enter, whatever the umask."""
    token = gateway_token(None, path, beyond_loopback=True)
    text = token.secret.get_secret_value()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", text)
    assert path.read_text() == text + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [0o700, 0o700]
    assert [entry.name for entry in path.parent.iterdir()] == ["gateway_token"]
    assert gateway_token(None, path).secret.get_secret_value() == text
    assert token.source == str(path)


def test_the_home_folder_may_be_named_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the default is; where it is not known, that is told."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = Path("~", "token")
    assert gateway_token(None, path).source == str(tmp_path / "token")
    monkeypatch.setattr(Path, "expanduser", raising)
    with pytest.raises(
        ConfigurationError, match="UNDERSTUDY_TOKEN_FILE: expected a file; the home folder is not known"
    ):
        gateway_token(None, path)


def raising(path: Path) -> Path:
    """Know no home folder."""
    raise RuntimeError(path)


@pytest.mark.parametrize("look", [gateway_token, held_token])
def test_who_only_looks_is_told_the_same_mistakes(look: Look, path: Path) -> None:
    """Whoever checks a configuration learns what would stop the gateway."""
    path.parent.mkdir(parents=True)
    path.write_text("a b")
    for mode, said in ((0o644, "others may read or write it"), (0o600, "a token of letters")):
        path.chmod(mode)
        with pytest.raises(ConfigurationError, match=said):
            look(None, path)
    path.write_text("short")
    assert isinstance(found := look(None, path), GatewayToken)
    assert found.weakness == "it has less than 32 characters"
    with pytest.raises(ConfigurationError, match="less than 32"):
        look(None, path, beyond_loopback=True)
    assert look(SecretStr(GOOD), path) == GatewayToken(SecretStr(GOOD), VARIABLE)


def test_who_only_looks_makes_nothing(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no token yet; whether one could be made is told as well."""
    assert held_token(None, path, beyond_loopback=True) is None
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="Not a directory; name a file in a folder"):
        held_token(None, tmp_path / "file" / "gateway_token")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ConfigurationError, match="Permission denied; let the user who runs this"):
        held_token(None, path)


def test_a_token_is_not_shown(path: Path) -> None:
    """Not by `repr`, not by a mistake that tells of it."""
    token = gateway_token(SecretStr(GOOD), path)
    assert GOOD not in f"{token!r} {token} {token.secret}"
    for given in (GOOD + " x", "hunter2-hunter2"):
        with pytest.raises(ConfigurationError) as caught:
            gateway_token(SecretStr(given), path, beyond_loopback=True)
        assert given not in str(caught.value)
        assert VARIABLE in str(caught.value)


def test_those_who_start_at_once_have_one_token(path: Path) -> None:
    """The first one's; nobody reads a part of it."""
    found: list[str] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        found.append(gateway_token(None, path).secret.get_secret_value())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {path.read_text().strip()}
    assert len([*path.parent.iterdir()]) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o644, 0o777])
def test_a_file_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    """With the command that mends it, and untouched."""
    gateway_token(None, path)
    before = path.read_text()
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"others may read or write it; run: chmod 600 {path}"):
        gateway_token(None, path)
    assert path.read_text() == before


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    """Neither to a file that is there, nor to one that would be made where the link leads."""
    path.parent.mkdir(parents=True)
    target = tmp_path / "target"
    path.symlink_to(target)
    with pytest.raises(ConfigurationError, match="it is a link"):
        gateway_token(None, path)
    assert not target.exists()
    target.write_text(GOOD)
    target.chmod(0o600)
    with pytest.raises(ConfigurationError, match="it is a link"):
        gateway_token(None, path)


def test_a_file_of_somebody_else_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it came here by a hard link: it is the owner that counts, who knows what is in it."""
    path.parent.mkdir(parents=True)
    planted = path.with_name("planted")
    planted.write_text(GOOD)
    planted.chmod(0o600)
    path.hardlink_to(planted)
    monkeypatch.setattr(os, "geteuid", lambda: planted.stat().st_uid + 1)
    with pytest.raises(ConfigurationError, match="it belongs to somebody else"):
        gateway_token(None, path)


@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_what_is_no_file_is_refused(path: Path, what: str) -> None:
    """And nobody waits for what a pipe may bring."""
    path.parent.mkdir(parents=True)
    if what == "folder":
        path.mkdir()
    else:
        os.mkfifo(path, 0o600)
    with pytest.raises(ConfigurationError, match="ordinary file"):
        gateway_token(None, path)


@pytest.mark.parametrize("held", [b"", b"\n", b"two words\n", b"\xff\xfe", b"a\nb\n", "schl\u00fcssel".encode()])
def test_a_file_with_something_else_in_it_is_told(path: Path, held: bytes) -> None:
    """It is not taken for a token, and not overwritten."""
    path.parent.mkdir(parents=True)
    path.write_bytes(held)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=str(path)):
        gateway_token(None, path)
    assert path.read_bytes() == held


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """With the file that was meant."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file/gateway_token"):
        gateway_token(None, tmp_path / "file" / "gateway_token")


def test_a_weak_token_is_refused_where_others_reach_us(path: Path) -> None:
    """On the loopback it is taken, because there it is whoever set it who is to be kept out least."""
    assert gateway_token(SecretStr("short"), path).secret.get_secret_value() == "short"
    with pytest.raises(ConfigurationError, match="less than 32 characters; make one: python3 -c"):
        gateway_token(SecretStr("short"), path, beyond_loopback=True)


@pytest.mark.parametrize("given", ["a b", "a\nb", "a:b", "=a", "schl\u00fcssel", "\u200b" + GOOD, '"' + GOOD + '"'])
def test_a_token_that_cannot_be_sent_is_refused(path: Path, given: str) -> None:
    """Everywhere: no client could ever show it."""
    with pytest.raises(ConfigurationError, match="a token of letters, digits"):
        gateway_token(SecretStr(given), path)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("x" * 31, "less than 32"),
        (GOOD[:31], "less than 32"),
        ("x" * 64, "repeats itself"),
        ("password" * 4, "repeats itself"),
        ("0123456789abcdef" * 2, "repeats itself"),
        ("abcdefghijklmnopqrstuvwxyz0123456789", "follow one another"),
        ("zyxwvutsrqponmlkjihgfedcba9876543210", "follow one another"),
        ("12345678901234567890123456789012", "follow one another"),
        ("a" * 31 + "b", "follow one another"),
        ("abababacacacabacabacababacabacab", "too few different"),
    ],
)
def test_what_is_weak(token: str, why: str) -> None:
    """As far as a text can tell."""
    assert why in weakness(token)


def test_what_is_made_by_chance_is_not_weak() -> None:
    """In each of the forms in which people make tokens."""
    for _ in range(2000):
        for token in (secrets.token_urlsafe(32), secrets.token_hex(16), secrets.token_hex(32)):
            assert weakness(token) == ""
