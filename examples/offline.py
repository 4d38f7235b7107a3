"""An outage that you can hold in your hand: two providers in memory, no key, no network.

The primary is overloaded for its first two calls. Run it: `python examples/offline.py`.
"""

from __future__ import annotations

import anyio

import understudy
from understudy import AgentSettings, RouteSettings, Settings
from understudy.simulation import Answer, Script, Status, World


async def main() -> None:
    """Ask three times, and say who answered and why."""
    agent = AgentSettings(
        primary=RouteSettings(transport="openai", model="lead", base_url="http://lead.test/v1"),
        fallbacks=(RouteSettings(transport="anthropic", model="second", base_url="http://second.test"),),
    )
    world = World(
        {
            "openai": Script.sequence(Status(503), Status(529), otherwise=Answer("Johann Wolfgang von Goethe.")),
            "anthropic": Script.always(Answer("Goethe.")),
        }
    )
    settings = Settings.in_code(agents={"deriver": agent})
    async with understudy.open_supervisor(settings, connect=world.connect) as supervisor:
        for _ in range(3):
            response = await supervisor.agent("deriver").complete("Who wrote Faust?")
            tried = " -> ".join(f"{attempt.model} ({attempt.verdict})" for attempt in response.attempts)
            print(f"{response.text:30} {tried}")


if __name__ == "__main__":
    anyio.run(main)
