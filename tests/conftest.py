"""Fixtures of all tests: both backends, each with a clock of its own that begins at 0 and never really sleeps."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio.to_thread
import pytest
from anyio._core import _sockets

from understudy.simulation import virtual_backend
from understudy.simulation._clock import Backend

from .over_sockets import FIXTURES
from .virtual_time import socket_backend, waiting_for_threads


def pytest_configure() -> None:
    """Hear Ctrl-C, which some tests press, even where a shell that started us in the background had it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what starts a command once: the event loop that counts is the command's own."""
    if metafunc.definition.get_closest_marker("commands") and "anyio_backend" in metafunc.fixturenames:
        metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run a test on both backends, in virtual time.

    With the mark `sockets` the kernel gets a moment before the clock jumps; with `processes` and `commands` time is
    real.
    """
    if any(request.node.get_closest_marker(mark) is not None for mark in ("processes", "commands")):
        return request.param, {}
    sockets = request.node.get_closest_marker("sockets") is not None
    return socket_backend(request.param) if sockets else virtual_backend(request.param)


@pytest.fixture(autouse=True)
def _http_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library's own transport carry requests where the environment says so: both have to do the same.

    Tests with the mark `transports` choose for themselves.
    """
    chooses = request.node.get_closest_marker("transports") is not None
    if os.environ.get("UNDERSTUDY_TEST_TRANSPORT") == "httpx2" and not chooses:
        monkeypatch.setattr("understudy.providers._http._transport", lambda *_: None)


@pytest.fixture(autouse=True)
def _patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of a test over sockets wait for threads."""
    if request.node.get_closest_marker("sockets") is not None:
        monkeypatch.setattr(anyio.to_thread, "run_sync", waiting_for_threads(anyio.to_thread.run_sync))
        monkeypatch.setattr(_sockets, "getaddrinfo", waiting_for_threads(_sockets.getaddrinfo))  # a thread looks it up


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the configuration and the logins of the machine that runs the tests out of them: no test, and no process
    that a test starts, finds the home folder of whoever runs it, or a login that is in use.
    """
    home = tmp_path / "home"
    ours = ("LLM_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_API_KEY", "LANGFUSE_", "NOUS_", "HERMES_", "SSL_CERT_")
    for name in os.environ:
        if "_MODEL_CONFIG__" in name or name.startswith(ours):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("HERMES_HOME", str(home / ".hermes"))
    monkeypatch.setenv("HERMES_SHARED_AUTH_DIR", str(home / "hermes-shared"))
    monkeypatch.setenv("NOUS_OAUTH_STATE_PATH", str(home / ".understudy" / "nous_oauth_state.json"))
    monkeypatch.chdir(str(tmp_path))


@pytest.fixture
def few_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust a single certificate: reading those of the machine takes longer than most of what goes over loopback."""
    monkeypatch.setenv("SSL_CERT_FILE", str(FIXTURES / "self_signed.crt"))
