"""Neutral messages: what agents say, in no vendor's form.

A `Message` is a role and a tuple of blocks. A block that a model made remembers its `issuer` (the transport, and the
address where that is not the vendor's own), so that a wire can render what the next model is able to read and leave
out what only the issuer understands (a thinking signature, say). How messages look on a wire is not known here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

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
        for name, value in (("url", self.url), ("data", self.data), ("media_type", self.media_type)):
            if value is not None and not isinstance(value, str):
                raise TypeError(f"the {name} of an Image is a text, not {type(value).__name__}: image(…) takes bytes")
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
    answer to that belongs to whoever runs the tool. `details` is JSON that the issuer wants back with the call as it
    is, and nobody else can read.
    """

    id: str
    name: str
    arguments: str
    issuer: str | None = None
    details: str | None = None

    def parse(self) -> dict[str, JSONValue]:
        """Return the arguments as a dict.

        Raises:
            ValueError: They are not a JSON object.
        """
        try:
            parsed = decode(self.arguments.encode()) if self.arguments.strip() else {}
        except ValueError as error:
            raise ValueError(f"the arguments of {self.name!r} are no JSON: {error}") from None
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
    thinking that only the issuer can read; `details` is JSON that it wants back as it is; `field` is where it looks
    for the text, if that is not `reasoning_content`. All of it is dropped for anybody else.
    """

    text: str
    signature: str | None = None
    redacted: str | None = None
    issuer: str | None = None
    details: str | None = None
    field: str | None = None


Block: TypeAlias = Text | Image | ToolCall | ToolResult | Reasoning

_ROLES, _BLOCKS = get_args(Role), get_args(Block)


@final
@dataclass(frozen=True, slots=True, weakref_slot=True)
class Message:
    """One turn of a conversation: who speaks, and the blocks in order. Only an assistant may have said nothing.

    Raises:
        TypeError: `blocks` is no tuple of blocks.
        ValueError: The role is none, or there is no block.
    """

    role: Role
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError("the role of a Message is one of " + ", ".join(_ROLES))
        if type(self.blocks) is not tuple:
            raise TypeError("the blocks of a Message are a tuple: user(…), assistant(…) and their like make it")
        for block in self.blocks:
            if not isinstance(block, _BLOCKS):
                raise _no_content(self.role, block)
        if not self.blocks and self.role != "assistant":
            raise ValueError(f"this {self.role} message is empty: it needs a text or a block")

    @property
    def text(self) -> str:
        """The text of all text blocks, joined."""
        return "".join(block.text for block in self.blocks if isinstance(block, Text))


Content: TypeAlias = str | Block | Iterable[str | Block]


def _no_content(role: Role, value: object) -> TypeError:
    blocks = ", ".join(block.__name__ for block in _BLOCKS)
    return TypeError(f"a {role} message is a text, a block ({blocks}), or a list of them, not {type(value).__name__}")


def _message(role: Role, content: Content) -> Message:
    if isinstance(content, str):
        return Message(role, (Text(content),))
    if isinstance(content, _BLOCKS):
        return Message(role, (content,))
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Iterable):
        raise _no_content(role, content)
    return Message(role, tuple(Text(part) if isinstance(part, str) else part for part in content))


def system(content: Content) -> Message:
    """Make a system message from a text, a block, or several of them."""
    return _message("system", content)


def user(content: Content) -> Message:
    """Make a user message from a text, a block, or several of them (text and images)."""
    return _message("user", content)


def assistant(content: Content) -> Message:
    """Make an assistant message from a text, a block, or several of them."""
    return _message("assistant", content)


def tool(call_id: str, content: str, *, is_error: bool = False) -> Message:
    """Make the message that answers the tool call with `call_id`.

    Raises:
        TypeError: The call's id or the content is no text.
    """
    _check_text("call_id", call_id, "give the id of the ToolCall")
    _check_text("content", content, "str(…) or json.dumps(…) makes one")
    return Message("tool", (ToolResult(call_id, content, is_error),))


def _check_text(name: str, value: object, remedy: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"the {name} of a tool message is a text, not {type(value).__name__}: {remedy}")


def image(data: bytes, media_type: str) -> Image:
    """Make an image block from the bytes of a picture and its media type, such as `image/png`.

    Raises:
        TypeError: `data` are no bytes.
    """
    try:
        encoded = base64.b64encode(data).decode("ascii")
    except TypeError:
        given = type(data).__name__
        raise TypeError(f"image(…) takes the bytes of a picture, not {given}; Image(url='…') names one") from None
    return Image(data=encoded, media_type=media_type)
