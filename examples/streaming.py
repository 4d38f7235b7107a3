"""A tool run that streams through an outage: the primary breaks off, and its fallback goes on from there.

Two providers in memory, no key, no network. The primary asks for a tool, is cut off in the middle of its answer, and is
overloaded from then on. What the tool found is told to the fallback; no tool runs twice. Run it:
`python examples/streaming.py`.
"""

from __future__ import annotations

import anyio

import understudy
from understudy import AgentSettings, Iteration, Restarted, RouteSettings, Settings, TextDelta
from understudy.simulation import Answer, Breaks, Script, Status, World

MODEL = Answer(None, after=0.2, every=0.05, rounds=1)
"""Asks for the tool once, and answers with the question and what the tool found, a word at a time."""

SHELVES = {"Who wrote Faust?": "Johann Wolfgang von Goethe, 1808."}


async def look_up(question: str) -> str:
    """Look a question up on the shelves.

    Args:
        question: What to look for, word for word.
    """
    await anyio.sleep(0.1)
    return SHELVES[question]


async def main() -> None:
    """Ask once, print what comes, and say who answered which turn."""
    agent = AgentSettings(
        primary=RouteSettings(transport="openai", model="lead", base_url="http://lead.test/v1"),
        fallbacks=(RouteSettings(transport="anthropic", model="second", base_url="http://second.test"),),
    )
    world = World(
        {
            "openai": Script.sequence(MODEL, Breaks(MODEL, after=5, how="reset"), otherwise=Status(503)),
            "anthropic": Script.always(MODEL),
        }
    )
    settings = Settings.in_code(agents={"librarian": agent})
    async with understudy.open_supervisor(settings, connect=world.connect) as supervisor:
        librarian = supervisor.agent("librarian")
        async with librarian.stream_run("Who wrote Faust?", tools=[look_up], on_interrupt="restart") as stream:
            async for event in stream:
                match event:
                    case TextDelta():
                        print(event.text, end="", flush=True)
                    case Iteration():
                        print(f"turn {event.number}: {event.tool_calls[-1].call.name} -> {event.tool_calls[-1].result}")
                    case Restarted():
                        print(f"\n-- cut off ({event.reason}); all of this turn again, by {event.model}:")
        print("\n" + " -> ".join(f"{attempt.model} ({attempt.verdict})" for attempt in stream.run.attempts))
        print(f"{len(stream.run.tool_calls)} tool call in {stream.run.iterations} turns")


if __name__ == "__main__":
    anyio.run(main)
