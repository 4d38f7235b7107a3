"""Neutral messages: what agents say, in no vendor's form.

A `Message` is a role and a tuple of blocks. A block that a model made remembers its `issuer` (the
transport), so that a wire can render what the next model is able to read and leave out what only the
issuer understands (a thinking signature, say). How messages look on a wire is not known here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from ._json import JSONValue, decode

Detail: TypeAlias = Literal["auto", "low", "high", "original"]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


@final
@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    text: str
    issuer: str | None = None


@final
@dataclass(frozen=True, slots=True, repr=False)
class Image:
    """A picture, either by `url` or as base64 `data` with its `media_type` (such as `image/png`).

    `detail` says how closely it is looked at, where the wire has a word for it; elsewhere it is left out.
    """

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: Detail | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.data is None):
            raise ValueError("an Image has either a url or data: give exactly one of the two")
        if self.data is not None and self.media_type is None:
            raise ValueError("an Image with data needs its media_type, such as 'image/png'")
        if self.media_type is not None and not self.media_type.startswith("image/"):
            raise ValueError("an Image's media_type begins with 'image/': PDFs and other files are not supported")

    def __repr__(self) -> str:
        return (
            f"Image(url={self.url!r})" if self.url else f"Image({self.media_type}, {len(self.data or '')} characters)"
        )


@final
@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool.

    `arguments` is the JSON text as the model wrote it: a model may write JSON that does not parse, and the
    answer to that belongs to whoever runs the tool.
    """

    id: str
    name: str
    arguments: str
    issuer: str | None = None

    def parse(self) -> dict[str, JSONValue]:
        """Return the arguments as a dict.

        Raises:
            ValueError: They are not a JSON object.
        """
        parsed = decode(self.arguments.encode()) if self.arguments.strip() else {}
        if not isinstance(parsed, dict):
            raise ValueError(f"the arguments of {self.name!r} are no JSON object")
        return parsed


@final
@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back for the call with `call_id`."""

    call_id: str
    content: str
    is_error: bool = False


@final
@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thought before it answered.

    `signature` proves the text to its issuer, who wants it back unchanged in a tool turn; `redacted` is
    thinking that only the issuer can read. Both are dropped for anybody else.
    """

    text: str
    signature: str | None = None
    redacted: str | None = None
    issuer: str | None = None


Block: TypeAlias = Text | Image | ToolCall | ToolResult | Reasoning


@final
@dataclass(frozen=True, slots=True, weakref_slot=True)
class Message:
    """One turn of a conversation: who speaks, and the blocks in order."""

    role: Role
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        """The text of all text blocks, joined."""
        return "".join(block.text for block in self.blocks if isinstance(block, Text))


Content: TypeAlias = str | Block | Iterable[str | Block]


def _blocks(content: Content) -> tuple[Block, ...]:
    if isinstance(content, str):
        return (Text(content),)
    if isinstance(content, (Text, Image, ToolCall, ToolResult, Reasoning)):
        return (content,)
    return tuple(Text(part) if isinstance(part, str) else part for part in content)


def system(content: Content) -> Message:
    """Make a system message from a text, a block, or several of them."""
    return Message("system", _blocks(content))


def user(content: Content) -> Message:
    """Make a user message from a text, a block, or several of them (text and images)."""
    return Message("user", _blocks(content))


def assistant(content: Content) -> Message:
    """Make an assistant message from a text, a block, or several of them."""
    return Message("assistant", _blocks(content))


def tool(call_id: str, content: str, *, is_error: bool = False) -> Message:
    """Make the message that answers the tool call with `call_id`."""
    return Message("tool", (ToolResult(call_id, content, is_error),))


def image(data: bytes, media_type: str) -> Image:
    """Make an image block from the bytes of a picture and its media type, such as `image/png`."""
    return Image(data=base64.b64encode(data).decode("ascii"), media_type=media_type)
