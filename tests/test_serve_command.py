"""`understudy serve` in a process of its own: what it says, who may ask, and how it ends."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx2
import pytest

from understudy._serve import SELDOM, collecting_seldom, loop_options
from understudy.simulation import Answer, Script, SimulatedServer, simulated_server

pytestmark = [pytest.mark.anyio, pytest.mark.commands, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

TOKEN = "pJ3v0nR8sXq1ZtLw5yBfKc7hAe2gUdMo9iNrTbVx4kE"
BODY: Any = {"model": "deriver", "messages": [{"role": "user", "content": "Who wrote Faust?"}]}
BACKENDS = ("asyncio", "trio")


@dataclass
class Serving:
    """A gateway in a process of its own."""

    process: anyio.abc.Process
    url: str
    said: str

    def client(self, **headers: str) -> httpx2.AsyncClient:
        """Return a client that shows the token."""
        shown = {"authorization": f"Bearer {TOKEN}", **headers}
        return httpx2.AsyncClient(base_url=self.url, headers=shown, timeout=20, trust_env=False)

    async def ended(self) -> int:
        """Wait until it has ended; return its exit code."""
        with anyio.fail_after(40):
            return await self.process.wait()


@asynccontextmanager
async def serving(
    server: SimulatedServer, backend: str = "asyncio", host: str = "127.0.0.1", **environment: str
) -> AsyncIterator[Serving]:
    """Run a gateway over a simulated vendor."""
    env = {
        **os.environ,
        "DERIVER_MODEL_CONFIG__MODEL": "a-model",
        "LLM_OPENAI_BASE_URL": server.openai_url,
        "LLM_OPENAI_API_KEY": "sk-0123456789",
        "UNDERSTUDY_TOKEN": TOKEN,
        **environment,
    }
    command = [sys.executable, "-W", "error", "-m", "understudy", "serve", "--port", "0", "--backend", backend]
    command += ["--host", host]
    async with await anyio.open_process(command, env=env) as process:
        said = b""
        assert process.stderr is not None
        try:
            with anyio.fail_after(30):
                while not re.search(rb"what it does is shown.*\n|\"listening\".*\n", said):
                    said += await process.stderr.receive()
            (url,) = re.findall(r"http://[\d.]+:\d+", said.decode().partition("\n")[0])
            yield Serving(process, url, said.decode())
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_it_says_where_it_is_and_answers(backend: str) -> None:
    """With the token, in both dialects, and its page without; the token itself is not said."""
    async with simulated_server(Script.always(Answer("Goethe."))) as server, serving(server, backend) as gateway:
        assert "agents: deriver; no fallback for deriver\n" in gateway.said
        assert TOKEN not in gateway.said
        async with gateway.client() as client:
            answer = await client.post("/v1/chat/completions", json=BODY)
            assert answer.json()["choices"][0]["message"]["content"] == "Goethe."
            answer = await client.post("/v1/messages", json={**BODY, "max_tokens": 9})
            assert answer.json()["content"][0]["text"] == "Goethe."
            metrics = await client.get("/metrics")
            assert "understudy_requests_total" in metrics.text
            status = await client.get("/status")
            assert status.json()["totals"]["answered"] == 2
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as stranger:
            assert (await stranger.get("/livez")).status_code == 200
            assert (await stranger.get("/")).headers["content-type"].startswith("text/html")
            for path in ("/status", "/events", "/metrics", "/readyz", "/v1/models"):
                refusal = await stranger.get(path)
                assert (refusal.status_code, refusal.headers["www-authenticate"]) == (401, "Bearer")
        gateway.process.send_signal(signal.SIGTERM)
        assert await gateway.ended() == 0


@pytest.mark.parametrize(
    ("host", "hosts", "expected"),
    [
        ("127.0.0.1", "", ""),
        ("0.0.0.0", "a.test", " and on this machine's other addresses"),  # noqa: S104 - for a moment
        (
            *("0.0.0.0", ""),  # noqa: S104 - for a moment
            " and on this machine's other addresses; set GATEWAY_HOSTS: only loopback's names are answered",
        ),
    ],
)
async def test_it_says_who_reaches_it(host: str, hosts: str, expected: str) -> None:
    """Where it listens at every address of the machine, it does not say that it were the loopback's alone."""
    async with simulated_server() as server, serving(server, host=host, GATEWAY_HOSTS=hosts) as gateway:
        line = gateway.said.partition("\n")[0]
        assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+" + re.escape(expected), line)


async def test_a_log_of_objects_has_nothing_else_in_it() -> None:
    """Where it listens and for whom is an object, too: whatever collects the log reads each line as one."""
    async with simulated_server() as server, serving(server, LLM_LOG_FORMAT="json") as gateway:
        (said,) = map(json.loads, gateway.said.splitlines())
        assert (said["event"], said["at"]) == ("listening", gateway.url)
        assert said["agents"] == "deriver; no fallback for deriver"


@pytest.mark.parametrize("backend", BACKENDS)
async def test_sigterm_under_load_loses_no_accepted_request(backend: str) -> None:
    """Whatever was asked before is answered whole; who comes later is refused as one should be, or not connected."""
    script = Script.always(Answer("one two three", after=0.2, every=0.1))
    answered, refused, wrong = [0], [0], list[str]()
    async with simulated_server(script) as server, serving(server, backend) as gateway:

        async def ask(streams: bool) -> None:
            async with gateway.client() as client:
                while gateway.process.returncode is None:
                    try:
                        answer = await client.post("/v1/chat/completions", json={**BODY, "stream": streams})
                    except httpx2.ConnectError:
                        return
                    except httpx2.HTTPError as error:
                        wrong.append(repr(error))
                        return
                    if answer.status_code == 503:
                        assert answer.headers["retry-after"]
                        refused[0] += 1
                        return
                    is_whole = answer.text.endswith("data: [DONE]\n\n") if streams else "three" in answer.text
                    if answer.status_code != 200 or not is_whole:
                        wrong.append(answer.text)
                    answered[0] += 1

        async with anyio.create_task_group() as callers:
            for number in range(40):
                callers.start_soon(ask, number % 2 == 0)
            while answered[0] < 60 and not wrong:  # noqa: ASYNC110 - it is the callers who count
                await anyio.sleep(0.05)
            begun = anyio.current_time()
            gateway.process.send_signal(signal.SIGTERM)
            assert await gateway.ended() == 0
            assert anyio.current_time() - begun < 5
    assert wrong == []
    assert server.left == 0


async def test_a_second_signal_ends_it_now() -> None:
    """A stream that would take long is told that it is cut off, in its dialect's own way; events end by themselves."""
    script = Script.always(Answer("one two three", every=60))
    async with simulated_server(script) as server, serving(server) as gateway, gateway.client() as client:
        told = b""
        async with (
            client.stream("GET", "/events") as events,
            client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer,
        ):
            parts = answer.aiter_raw()
            told += await anext(parts)
            begun = anyio.current_time()
            gateway.process.send_signal(signal.SIGTERM)
            async for _ in events.aiter_raw():
                pass
            assert anyio.current_time() - begun < 2
            gateway.process.send_signal(signal.SIGTERM)
            async for part in parts:
                told += part
        assert b'"error"' in told
        assert b"[DONE]" not in told
        assert await gateway.ended() == 0
        assert anyio.current_time() - begun < 5


async def test_a_token_is_made_and_kept() -> None:
    """Without one it is made on the first start, for us alone; `understudy token` prints the same."""
    home = Path(os.environ["HOME"])
    async with simulated_server(Script.always(Answer("Goethe."))) as server, serving(server, UNDERSTUDY_TOKEN="") as it:
        path = home / ".understudy" / "gateway_token"
        token = path.read_text().strip()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with it.client(authorization=f"Bearer {token}") as client:
            assert (await client.get("/readyz")).status_code == 200
        printed = await anyio.run_process(
            [sys.executable, "-m", "understudy", "token"], env={**os.environ, "UNDERSTUDY_TOKEN": ""}
        )
        assert printed.stdout.decode().strip() == token


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--host", "::"], {"UNDERSTUDY_TOKEN": "short"}, "UNDERSTUDY_TOKEN"),
        (["--port", "0"], {"GATEWAY_ALIASES": "gpt-5=nobody"}, "GATEWAY_ALIASES"),
        (["--port", "0"], {"DERIVER_MODEL_CONFIG__MODEL": ""}, "MODEL"),
        (["--host", "192.0.2.1", "--port", "0"], {}, "192.0.2.1"),
    ],
)
async def test_what_cannot_work_is_said_at_the_start(
    arguments: list[str], environment: dict[str, str], said: str
) -> None:
    """With the exit code 2, in words, and without a token or a traceback."""
    env = {
        **os.environ,
        "DERIVER_MODEL_CONFIG__MODEL": "m",
        "LLM_OPENAI_API_KEY": "sk-0123456789",
        "UNDERSTUDY_TOKEN": TOKEN,
    }
    command = [sys.executable, "-m", "understudy", "serve", *arguments]
    done = await anyio.run_process(command, env={**env, "UNDERSTUDY_TOKEN": TOKEN, **environment}, check=False)
    err = done.stderr.decode()
    assert done.returncode == 2
    assert said in err
    assert "Traceback" not in err
    assert TOKEN not in err


@pytest.mark.parametrize(
    ("backend", "is_installed", "expected"),
    [("asyncio", True, {"use_uvloop": True}), ("asyncio", False, {}), ("trio", True, {})],
)
def test_asyncio_runs_on_uvloop_where_that_is_installed(
    backend: str, is_installed: bool, expected: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to install it; trio has nothing to do with it."""
    monkeypatch.setattr("understudy._serve.find_spec", lambda _: object() if is_installed else None)
    assert loop_options(backend) == expected


def test_garbage_is_looked_for_seldom_while_it_serves() -> None:
    """And as before, once it does not: it may not be alone in its process."""
    before = gc.get_threshold(), gc.get_freeze_count()
    with collecting_seldom():
        assert gc.get_threshold() == SELDOM
        assert gc.get_freeze_count() > 10_000
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
