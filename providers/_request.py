"""What an agent wants, and what a model gave, in no vendor's form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypedDict, final, get_args

from ._explain import explained
from ._json import JSONValue
from ._messages import Block, Message, Reasoning, Text, ToolCall
from ._schema import is_object
from ._trail import Attempt, PassedOver, first_token

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)
"""Every effort, rising."""

CachePolicy: TypeAlias = Literal["none", "auto"]
CACHE_POLICIES: tuple[CachePolicy, ...] = get_args(CachePolicy)
StructuredOutputMode: TypeAlias = Literal["json_schema", "tool", "json_object"]
STRUCTURED_OUTPUT_MODES: tuple[StructuredOutputMode, ...] = get_args(StructuredOutputMode)
"""How a model is brought to answer in a shape: held to the schema, by a forced tool, or asked to, in JSON mode."""

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "other"]


@final
@dataclass(frozen=True, slots=True)
class Tool:
    """A tool a model may ask for: its name, what it is for, and the JSON schema of its arguments.

    `run` is called with the arguments by name when the tool is asked for in `Agent.run`: an async function in place,
    any other in a worker thread. What it returns is told to the model.

    Raises:
        TypeError: The name or the description is no text, the schema no dict, or `run` nothing that can be called.
        ValueError: The name is empty.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    run: Callable[..., Any] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not all(isinstance(text, str) for text in (self.name, self.description)):
            raise TypeError("the name and the description of a Tool are texts")
        if not isinstance(self.parameters, Mapping):
            raise TypeError("the parameters of a Tool are the JSON schema of its arguments, a dict")
        if self.run is not None and not callable(self.run):
            raise TypeError("the run of a Tool is a function that takes its arguments by name")
        if not self.name:
            raise ValueError("a Tool needs a name")


ToolLike: TypeAlias = Tool | Callable[..., Any]
"""A tool, or a typed function that is made into one."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The shape an answer has to have: a name for it, and the JSON schema of the object that it is.

    Raises:
        TypeError: The name is no text, or the schema no dict.
        ValueError: The name is empty, or the schema is not that of an object.
    """

    name: str
    schema: Mapping[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        if not all(isinstance(part, kind) for part, kind in ((self.name, str), (self.schema, Mapping))):
            raise TypeError("a Shape is a name, a text, and the JSON schema of an object, a dict")
        if not self.name:
            raise ValueError("a Shape needs a name")
        if not is_object(self.schema):
            raise ValueError("the schema of a Shape is that of an object: put any other value into a property of one")


class Parameters(TypedDict, total=False):
    """What may be said of a request beyond its messages. Each wire maps what it can and drops the rest.

    Tokens are counted as the model counts them; `tool_choice` is `auto`, `none`, `required` or a tool's name. With the
    `cache_policy` `auto` a wire that wants to be told what of a prompt to cache is told: tools, instructions, and the
    conversation so far; the others do it by themselves.
    `extra_body`, `extra_headers` and `extra_query` reach the provider as they are. A field of `extra_body` takes the
    place of ours whole, as in the vendors' SDKs; `model`, `messages` and `stream` it cannot hold. Among `tools` may be
    typed functions: an agent makes a `Tool` of each before anything is asked. `shape` is what the answer has to be,
    `structured_output_mode` how a model is told so, where it knows that way; unset, the best of its ways.
    """

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    frequency_penalty: float
    presence_penalty: float
    seed: int
    stop: str | Sequence[str]
    reasoning_effort: Effort
    thinking_budget_tokens: int
    tools: Sequence[ToolLike]
    tool_choice: str
    parallel_tool_calls: bool
    json_mode: bool
    cache_policy: CachePolicy
    shape: Shape
    structured_output_mode: StructuredOutputMode
    extra_body: Mapping[str, Any]
    extra_headers: Mapping[str, str]
    extra_query: Mapping[str, Any]


def tools_of(parameters: Parameters) -> list[Tool]:
    """Return the tools; none of them is a mere function any more once the parameters are checked."""
    return [tool for tool in parameters.get("tools", ()) if isinstance(tool, Tool)]


@final
@dataclass(frozen=True, slots=True)
class Neutral:
    """What a client of the gateway asks, for a provider of any wire.

    `reason` says why those of other wires cannot be asked: the request holds what has no neutral form. It is empty
    where they can; else `messages` and `parameters` hold what could be read, which may be nothing. `left_out` are
    fields that the others are not told, and need not know.
    """

    messages: tuple[Message, ...] = field(default=(), repr=False)
    parameters: Parameters = field(default_factory=lambda: Parameters(), repr=False)
    reason: str = ""
    left_out: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Relay:
    """A request as a client of the gateway sent it, in the `wire` of the providers that it may be given on to.

    `read` gives it in neutral form, for providers of other wires; it raises `UnreadableError` where it has none.
    `headers` go with it. `wants_usage` says that the client asked a stream for the tokens. With `counts` nothing is
    asked but how many tokens it has.
    """

    wire: str
    body: Mapping[str, Any] = field(repr=False)
    read: Callable[[], Neutral] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    wants_usage: bool = False
    counts: bool = False


@final
@dataclass(frozen=True, slots=True)
class Request:
    """One question for one model. Its `repr` shows neither what is asked nor the headers that go with it.

    With `relay` it is as a client sent it, and given on as it came by a provider that speaks its wire; `parameters` are
    then those of the route, and stand in for what the client does not say.
    """

    model: str
    messages: tuple[Message, ...] = field(repr=False)
    parameters: Parameters = field(default_factory=lambda: Parameters(), repr=False)
    relay: Relay | None = field(default=None, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; None is "not told", never zero.

    `input_tokens` includes what was read from or written to a cache, on every wire.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def total_tokens(self) -> int | None:
        """Input and output together; None unless both are known."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


@final
@dataclass(frozen=True, slots=True)
class Response:
    """One answer, and the trail that led to it.

    `model` is the model the provider says it used; `dropped` names the parameters it was not sent, because its
    wire cannot express them. `attempts` are in order, the last one being the one that answered; `passed_over` are the
    routes that were not asked. Both are empty until a supervisor fills them. `parsed` is what the text says, where an
    answer of some shape was asked for. `cost` is in US dollars, None where no price is known for the model, or its
    tokens were not told; failed attempts are not in it, for no provider tells what they took. `raw` is the answer as it
    was sent, where the request was relayed.
    """

    blocks: tuple[Block, ...]
    model: str
    transport: str
    finish_reason: FinishReason
    usage: Usage = Usage()
    request_id: str | None = None
    dropped: tuple[str, ...] = ()
    is_fallback: bool = False
    attempts: tuple[Attempt, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    parsed: Any = None
    cost: float | None = None
    raw: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def first_token(self) -> float | None:
        """Seconds from the request's beginning to the first content; None where no stream was read."""
        return first_token(self.attempts)

    @property
    def text(self) -> str:
        """The text of the answer."""
        return "".join(block.text for block in self.blocks if isinstance(block, Text))

    @property
    def reasoning(self) -> str:
        """What the model thought first, as far as its provider shows it."""
        return "".join(block.text for block in self.blocks if isinstance(block, Reasoning))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools the model asks for, in order."""
        return tuple(block for block in self.blocks if isinstance(block, ToolCall))

    @property
    def message(self) -> Message:
        """The answer as a message, to be appended to the conversation."""
        return Message("assistant", self.blocks)

    def explain(self) -> str:
        """Say in a few lines why this route answered: who was passed over, who failed and why, and how long it took."""
        return explained(
            self.transport,
            self.model,
            is_fallback=self.is_fallback,
            attempts=self.attempts,
            passed_over=self.passed_over,
        )


MessageLike: TypeAlias = Message | Mapping[str, JSONValue] | Mapping[str, Any]
Messages: TypeAlias = str | Iterable[MessageLike]
