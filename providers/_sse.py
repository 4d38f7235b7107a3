"""Server-sent events out of bytes, as they come in. Pure.

Of the fields only `event` and `data` mean something here; `id`, `retry`, comments and unknown ones are ignored. An
event that no blank line ends does not count: a connection that was cut looks like that.

Source: WHATWG HTML, sections 9.2.5 and 9.2.6 (parsing and interpreting an event stream).
"""

from __future__ import annotations

from typing import TypeAlias, final

from ._verdicts import Verdict
from ._wire import WireError

LARGEST_EVENT = 16 * 1024 * 1024
"""Bytes of one event, its name and comments included (chosen; far beyond what any model writes at once)."""

Event: TypeAlias = tuple[str, bytes]
"""The event's name, empty if it has none, and its data: the lines, joined by LF."""

_BOM = b"\xef\xbb\xbf"
_LF, _CR = 10, 13

_NAMED = ("content_block_delta", "content_block_start", "content_block_stop", "message_start", "message_delta")
_NAMES = {f"event: {name}".encode(): name for name in (*_NAMED, "message_stop", "ping")}
"""The lines that name the events of the Anthropic wire: to look one up is faster than to read it."""


@final
class SSEDecoder:
    """Finds the events in a stream of bytes that is cut anywhere. Its time is linear in the bytes."""

    def __init__(self) -> None:
        self._held = bytearray()  # of an event that has not ended
        self._is_begun = self._after_cr = self._is_too_large = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes, in order.

        Raises:
            WireError: An event is larger than `LARGEST_EVENT`; `MALFORMED`. Events before it come first: then it is the
                next call, or `check`, that raises.
        """
        self.check()
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        if held := self._held:
            is_ended = b"\n\n" in data or (held[-1] == _LF and data[:1] == b"\n")
            held += data
            if not is_ended:
                return self._checked([], len(held))
            data = bytes(held)
            held.clear()
        blocks = data.split(b"\n\n")
        held += blocks.pop()
        return self._checked(self._read(blocks), len(held))

    def check(self) -> None:
        """Raise what was kept back for the sake of the events before it; see `feed`."""
        if self._is_too_large:
            raise _too_large()

    def _with_lf(self, data: bytes) -> bytes:
        """Make every line end an LF. A CR ends its line at once; an LF that follows it is dropped when it comes."""
        if self._after_cr and data:
            data, self._after_cr = data.removeprefix(b"\n"), False
        if data:
            self._after_cr = data[-1] == _CR
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _checked(self, events: list[Event], held: int) -> list[Event]:
        self._is_too_large |= held > LARGEST_EVENT + 1  # its last line has ended, but maybe not the event
        if self._is_too_large and not events:
            raise _too_large()
        return events

    def _read(self, blocks: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for block in blocks:
            if len(block) > LARGEST_EVENT:
                self._is_too_large = True
                break
            if not self._is_begun:
                block, self._is_begun = block.removeprefix(_BOM), True
            if block.startswith(b"data: ") and b"\n" not in block:  # nearly all of them
                events.append(("", block[6:]))
                continue
            line, has_data, data = block.partition(b"\ndata: ")
            if has_data and (name := _NAMES.get(line)) is not None and b"\n" not in data:  # and the others
                events.append((name, data))
            elif (event := _event(block)) is not None:
                events.append(event)
        return events


def _event(block: bytes) -> Event | None:
    """Return the event in these lines, or None: without a line of data it is none."""
    name, data = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return (name.decode("utf-8", "replace"), b"\n".join(data)) if data else None


def _too_large() -> WireError:
    return WireError(Verdict.MALFORMED, f"an event of the stream is larger than {LARGEST_EVENT} bytes")
