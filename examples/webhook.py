"""A hook that waits: a web hook is told of each hand-over and each return, and no request waits for it.

The providers are simulated in memory and the web hook on loopback, so it runs as it is: `python examples/webhook.py`.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import anyio
import httpx2

import understudy
from understudy import AgentSettings, QueuedHook, RouteSettings, Settings
from understudy.events import Event, HandedOver, Returned
from understudy.simulation import Answer, Script, Status, World


class WebHook:
    """Posts to an address what somebody should know; it is a hook behind a `QueuedHook`."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self._url, self._client = url, client

    async def __call__(self, event: Event) -> None:
        """Post an event, if it is one of these. An error is counted by the queue, and told in the log once."""
        match event:
            case HandedOver(agent, primary, fallback, reason):
                said = f"{agent} is served by {fallback}, not {primary}: {reason}"
            case Returned(agent, primary, after):
                said = f"{agent} is served by {primary} again, after {after:.1f} s"
            case _:
                return
        (await self._client.post(self._url, json={"text": said}, timeout=5)).raise_for_status()


class Chat(BaseHTTPRequestHandler):
    """The other end: prints what it is sent."""

    def do_POST(self) -> None:
        """Take a message."""
        print(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing else."""


async def main(url: str) -> None:
    """Ask a few times, through an outage of a second."""
    agent = AgentSettings(
        primary=RouteSettings(transport="openai", model="lead", base_url="http://lead.test/v1"),
        fallbacks=(RouteSettings(transport="anthropic", model="second", base_url="http://second.test"),),
    )
    lead = Script.sequence(Answer("Goethe."), Status(503), Status(503), otherwise=Answer("Goethe."))
    world = World({"openai": lead, "anthropic": Script.always(Answer("Goethe."))})
    settings = Settings.in_code(agents={"deriver": agent}, circuit_open_for=0.2, circuit_open_max=0.2)
    async with (
        httpx2.AsyncClient(trust_env=False) as client,
        QueuedHook(WebHook(url, client)) as hook,
        understudy.open_supervisor(settings, connect=world.connect, hooks=[hook]) as supervisor,
    ):
        for _ in range(8):
            await supervisor.agent("deriver").complete("Who wrote Faust?")
            await anyio.sleep(0.1)


if __name__ == "__main__":
    with HTTPServer(("127.0.0.1", 0), Chat) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        anyio.run(main, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
