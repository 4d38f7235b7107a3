"""The gateway's application beside its dialects: paths, methods, what is relayed, and what is shown of itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest

from understudy import (
    AgentSettings,
    AllAttemptsFailedError,
    Attempt,
    ConfigurationError,
    Settings,
    Verdict,
    open_supervisor,
)
from understudy.gateway import Feed, FeedConsole, Gateway, Head, HTTPAnswer, HTTPRequest
from understudy.gateway._app import names_of
from understudy.gateway._asking import UNCOUNTED
from understudy.gateway._refusals import INTERNAL, Refused, refused
from understudy.providers import Failure, attempt_error
from understudy.providers._sse import SSEDecoder
from understudy.simulation import Answer, Breaks, Script, Status, simulated_server

from .over_sockets import opened, route_to

pytestmark = [pytest.mark.anyio, pytest.mark.sockets, pytest.mark.usefixtures("few_certificates")]

WELL = Script.always(Answer("Goethe."))
BODY = {
    "model": "deriver",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hi"}],
    "unheard_of": {"a": [1, None]},
}


async def asked(
    gateway: Gateway, method: str, target: str, body: Any = None, **headers: str
) -> tuple[HTTPAnswer, bytes]:
    """Ask, and return the answer and what came of it."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    async with gateway.answer(HTTPRequest(Head(method, target, named), content)) as answer:
        parts = [] if answer.parts is None else [part async for part in answer.parts]
        return answer, answer.body + b"".join(parts)


@asynccontextmanager
async def gateway(*scripts: tuple[str, Script], **options: Any) -> AsyncIterator[tuple[Gateway, Any]]:
    """Open a gateway with its console over simulated vendors."""
    feed = Feed("1.2.3")
    async with opened(*scripts, hooks=[feed], **options) as (_, supervisor, servers):
        feed.watch(supervisor)
        console = FeedConsole(supervisor, feed)
        yield (
            Gateway(supervisor, aliases={"GPT-5": "deriver"}, metrics=lambda: "a_metric 1\n", console=console),
            servers,
        )


@pytest.mark.parametrize(("wire", "path"), [("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")])
async def test_a_relayed_answer_is_the_providers_own(wire: str, path: str) -> None:
    """Byte for byte, with what nobody here knows; and so is the request, but for its model."""
    choice = b'{"message":{"content":"Goethe."},"finish_reason":"stop"}'
    content = b'[{"type":"text","text":"Goethe."}],"stop_reason":"end_turn"'
    body = b'{"id":"x","type":"message","choices":[%b],\n "new": [1.50],"content":%b}' % (choice, content)
    async with gateway((wire, Script.always(Status(200, body=body)))) as (it, servers):
        answer, content = await asked(it, "POST", path, BODY)
        assert (answer.status, content) == (200, body)
        assert servers[0].received[0].body == {**BODY, "model": f"{wire}-model"}
        assert dict(answer.headers)["x-understudy-model"] == f"{wire}-model"


async def test_tokens_are_counted_where_a_route_can() -> None:
    """By the first route to Anthropic, in its own words, and as no request of the agent's; else that it cannot be."""
    counting = Script.always(Status(200, body=b'{"input_tokens": 17, "new": 1}'))
    question = {"model": "deriver", "messages": [{"role": "user", "content": "hi"}], "system": "Be brief."}
    async with gateway(("openai", WELL), ("anthropic", counting)) as (it, servers):
        answer, content = await asked(it, "POST", "/v1/messages/count_tokens", question)
        assert (answer.status, content) == (200, b'{"input_tokens": 17, "new": 1}')
        (received,) = servers[1].received
        assert received.path == "/v1/messages/count_tokens"
        assert received.body == {**question, "model": "anthropic-model"}
        assert not servers[0].received
        assert json.loads((await asked(it, "GET", "/status"))[1])["totals"]["requests"] == 0
    async with gateway(("openai", WELL)) as (it, _):
        answer, content = await asked(it, "POST", "/v1/messages/count_tokens", question)
        assert answer.status == 400
        assert "counts tokens" in json.loads(content)["error"]["message"]
    async with gateway(("anthropic", Script.always(Status(200, body=b'{"tokens": 1}'))), retry_attempts=1) as (it, _):
        assert (await asked(it, "POST", "/v1/messages/count_tokens", question))[0].status == 502


async def test_what_a_client_sends_of_headers_stays_here() -> None:
    """Only `anthropic-beta` goes on; credentials, cookies and where it came from do not (R-GW-8)."""
    async with gateway(("anthropic", WELL)) as (it, servers):
        await asked(
            it,
            "POST",
            "/v1/messages",
            BODY,
            anthropic_beta="a-beta",
            authorization="Bearer theirs",
            x_api_key="theirs",
            cookie="theirs",
            forwarded="for=theirs",
            x_forwarded_for="theirs",
            host="theirs",
            proxy_authorization="theirs",
        )
        received = servers[0].received[0].headers
        assert received["anthropic-beta"] == "a-beta"
        assert not any("theirs" in value for value in received.values())


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/livez", 200),
        ("HEAD", "/livez", 200),
        ("POST", "/livez", 405),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models?limit=3", 200),
        ("GET", "/v1/models/deriver", 200),
        ("GET", "/v1/models/gpt-5", 200),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/messages", 405),
        ("GET", "/v1/chat/completions/", 404),
        ("GET", "/V1/models", 404),
        ("GET", "/v1/../livez", 404),
        ("GET", "//livez", 404),
        ("GET", "/%6civez", 404),
        ("GET", "/", 200),
        ("GET", "/page/page.js", 200),
        ("GET", "/page/../page.js", 404),
        ("GET", "/status", 200),
        ("POST", "/status", 405),
        ("HEAD", "/status", 200),
        ("HEAD", "/events", 405),
        ("POST", "/events", 405),
        ("GET", "/circuits/nothing", 405),
        ("DELETE", "/circuits/nothing", 405),
        ("POST", "/circuits", 404),
        ("POST", "/", 405),
        ("PUT", "/page/page.js", 405),
        ("GET", "/admin", 404),
        ("POST", "/circuits/nothing", 400),
    ],
)
async def test_paths(method: str, target: str, status: int) -> None:
    """Each path takes its methods, as it is written and in no other spelling; there are no others (R-GW-10)."""
    async with gateway(("openai", WELL)) as (it, _):
        answer, content = await asked(it, method, target, b"{}")
        assert answer.status == status
        if status >= 400:
            assert json.loads(content)["error"]["message"]
        if status == 405:
            allowed = dict(answer.headers)["allow"].split(", ")
            assert method not in allowed
            for other in allowed if target != "/events" else ():  # which has no end
                assert (await asked(it, other, target, b"{}"))[0].status in {200, 400}


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/responses?x", "/v1/responses"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("/v1/messages/", "/v1/messages"),
        ("/models", "/v1/models"),
        ("/v1/embeddings", ""),
        ("/v1/completions", ""),
        ("/messages/batches", ""),
        ("/v1", ""),
        ("/v1/page/page.css", ""),
    ],
)
async def test_a_base_url_that_is_not_meant_so_is_told(target: str, meant: str) -> None:
    """Where a path would be one with the right base URL, that is named, for either vendor's clients."""
    hint = f", but at {meant}: a base URL ends in /v1 for OpenAI's clients, and has no path for Anthropic's"
    async with gateway(("openai", WELL)) as (it, _):
        answer, content = await asked(it, "POST", target, BODY)
    assert answer.status == 404
    assert json.loads(content)["error"]["message"] == "there is nothing at this path" + (hint if meant else "")


async def test_a_model_that_is_none_is_told_with_what_there_is() -> None:
    """What else it may be called, and how an agent gets another name."""
    async with gateway(("openai", WELL)) as (it, _):
        _, content = await asked(it, "POST", "/v1/messages", {**BODY, "model": "nobody"})
    assert json.loads(content)["error"]["message"] == (
        "there is no model 'nobody' here: use one of deriver, gpt-5; or give one of them that name with GATEWAY_ALIASES"
    )


@pytest.mark.parametrize(
    ("path", "wire", "body", "said"),
    [
        (
            "/v1/messages",
            "openai",
            {"unheard_of": 1},
            "unheard_of, and agent 'deriver' has no route on the anthropic wire",
        ),
        ("/v1/chat/completions", "anthropic", {"n": 2}, "n, and agent 'deriver' has no route on the openai wire"),
        ("/v1/responses", "openai", {"frob": 1}, "frob, and agent 'deriver' has no route on the responses wire"),
        ("/v1/messages/count_tokens", "openai", {}, ""),
    ],
)
async def test_what_no_route_can_be_told_is_told_with_why(path: str, wire: str, body: Any, said: str) -> None:
    """The field, the agent, what its routes lack, and the way out; where tokens are counted, that none counts."""
    question = {"input": "hi"} if path == "/v1/responses" else {"messages": BODY["messages"], "max_tokens": 100}
    async with gateway((wire, WELL)) as (it, servers):
        answer, content = await asked(it, "POST", path, {"model": "deriver", **question, **body})
    whole = f"no other wire has an equal for {said}: leave it out" if said else UNCOUNTED.reason
    assert (answer.status, json.loads(content)["error"]["message"]) == (400, whole)
    assert not servers[0].received


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", ["deriver", "nobody"])
async def test_an_error_has_the_name_of_its_request(model: str, streams: bool) -> None:
    """In Anthropic's dialect its body has a place for it: it is the header's, and another one for each request."""
    asked_for = {**BODY, "model": model, "stream": streams}
    names = set[str]()
    async with gateway(("anthropic", Script.always(Status(400)))) as (it, _):
        for _ in range(2):
            answer, content = await asked(it, "POST", "/v1/messages", asked_for)
            assert answer.status >= 400
            assert json.loads(content)["request_id"] == dict(answer.headers)["request-id"]
            names.add(dict(answer.headers)["request-id"])
    assert len(names) == 2


async def test_a_stream_that_is_cut_off_has_the_name_of_its_request() -> None:
    """Its error event has it, also where the events before came as they are."""
    cut = Script.always(Breaks(Answer("one two three"), after=2))
    async with gateway(("anthropic", cut)) as (it, _):
        answer, content = await asked(it, "POST", "/v1/messages", {**BODY, "stream": True})
        _, _, last = content.rstrip().rpartition(b"data: ")
        assert json.loads(last)["request_id"] == dict(answer.headers)["request-id"]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_gateway_that_ends_says_so_after_what_it_has_said(wire: str, path: str) -> None:
    """In the dialect's own way and, where events are numbered, by the next number; a whole answer is left as it is."""
    said_by = {"input": "hi"} if path == "/v1/responses" else {"messages": BODY["messages"], "max_tokens": 100}
    content = json.dumps({"model": "deriver", "stream": True, **said_by}).encode()
    request = HTTPRequest(Head("POST", path, ()), content)
    slow = Script.always(Answer("one two three", every=10))
    async with gateway((wire, slow)) as (it, _), it.answer(request) as answer:
        assert answer.parts is not None
        assert answer.cut is not None
        first = await anext(answer.parts)
        said = [json.loads(data) for _, data in SSEDecoder().feed(first + answer.cut())]
        if path == "/v1/responses":
            assert [event["sequence_number"] for event in said] == list(range(len(said)))
            assert said[-1]["type"] == "response.failed"
        assert "stopping" in str(said[-1])
        async for _ in answer.parts:
            pass
        assert answer.cut() == b""


async def test_a_gateway_that_stops_is_not_ready() -> None:
    """It is alive all the same."""
    async with gateway(("openai", WELL)) as (it, _):
        it.drain()
        assert (await asked(it, "GET", "/readyz"))[0].status == 503
        assert (await asked(it, "GET", "/livez"))[0].status == 200


async def test_a_circuit_by_hand() -> None:
    """It is opened, seen as such, and reset; a body that asks for nothing is refused with what may be asked."""
    async with gateway(("openai", WELL), ("anthropic", WELL)) as (it, servers):
        status = json.loads((await asked(it, "GET", "/status"))[1])
        key = next(circuit["key"] for circuit in status["circuits"] if circuit["model"] == "openai-model")
        target = "/circuits/" + key.replace("/", "%2F").replace(" ", "%20")
        assert (await asked(it, "POST", target, {"action": "open", "for": 60}))[0].status == 200
        answer, _ = await asked(it, "POST", "/v1/chat/completions", BODY | {"unheard_of": None})
        assert dict(answer.headers)["x-understudy-transport"] == "anthropic"
        assert not servers[0].received
        assert (await asked(it, "POST", target, {"action": "reset"}))[0].status == 200
        answer, _ = await asked(it, "POST", "/v1/chat/completions", BODY)
        assert dict(answer.headers)["x-understudy-transport"] == "openai"
        refusal, said = await asked(it, "POST", target, {"action": "explode"})
        assert refusal.status == 400
        assert "open, closed, reset" in json.loads(said)["error"]["message"]


@pytest.mark.parametrize("method", ["GE", "E", "HEA", ", ", "OST", "get"])
async def test_half_a_method_is_none(method: str) -> None:
    """Only whole names of methods are taken."""
    async with gateway(("openai", WELL)) as (it, _):
        for path in ("/livez", "/readyz", "/v1/models", "/v1/chat/completions"):
            assert (await asked(it, method, path))[0].status == 405


@pytest.mark.parametrize("name", ["Deriver", "İstanbul"])
async def test_an_agent_is_asked_by_its_name(name: str) -> None:
    """However an agent that is configured in code is spelt, and however a client spells it."""
    async with simulated_server(WELL) as server:
        settings = Settings.in_code(agents={name: AgentSettings(primary=route_to("openai", server))})
        async with open_supervisor(settings, drain_for=0) as supervisor:
            it = Gateway(supervisor, aliases={"GPT-5": name.lower()})
            assert it.models == (name, "gpt-5")
            for model in (name, name.lower(), "gpt-5"):
                answer, _ = await asked(it, "POST", "/v1/chat/completions", BODY | {"model": model})
                assert answer.status == 200
                assert (await asked(it, "GET", f"/v1/models/{quote(model)}"))[0].status == 200


def test_names_of_models() -> None:
    """Agents and aliases, whatever their case; an alias that means nobody, or hides an agent, is a mistake."""
    assert names_of(["deriver", "dialectic.max"], {"GPT-5": "Deriver"}) == {
        "deriver": "deriver",
        "dialectic.max": "dialectic.max",
        "gpt-5": "deriver",
    }
    assert names_of(["Deriver"], {"GPT-5": "deriver", "deriver": "Deriver"}) == {
        "Deriver": "Deriver",
        "gpt-5": "Deriver",
    }
    with pytest.raises(ConfigurationError) as caught:
        names_of(["deriver", "writer"], {"a": "nobody", "writer": "deriver"})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_a_providers_failure_is_no_mistake_of_ours(streams: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Its 500 is told to the client, and no line of the log says that the gateway failed."""
    async with gateway(("openai", Script.always(Status(500)))) as (it, _):
        answer, _ = await asked(it, "POST", "/v1/chat/completions", {**BODY, "stream": streams})
        assert answer.status == 500
    assert "gateway_failed" not in caplog.text


def test_a_mistake_of_ours_says_nothing() -> None:
    """Whatever is raised, a client is told that it is the gateway's fault, and no more."""
    assert refused(ZeroDivisionError("secret")) is INTERNAL
    assert "secret" not in INTERNAL.said


@pytest.mark.parametrize(
    ("verdict", "said", "told"),
    [
        (Verdict.LOCAL_CONFIG, 407, 502),
        (Verdict.CALLER, 411, 502),
        (Verdict.CALLER, 417, 502),
        (Verdict.STALE_CONNECTION, 421, 502),
        (Verdict.CALLER, 426, 502),
        (Verdict.MISCONFIGURED, 505, 502),
        (Verdict.PROVIDER, 511, 502),
        (Verdict.TIMEOUT, 408, 504),
        (Verdict.CONFLICT, 425, 409),
        (Verdict.CALLER, 405, 405),
        (Verdict.CAPABILITY, 413, 413),
        (Verdict.CALLER, 431, 431),
        (Verdict.MISCONFIGURED, 501, 501),
        (Verdict.PROVIDER, 500, 500),
    ],
)
def test_what_is_said_of_a_hop_is_not_a_clients(verdict: Verdict, said: int, told: int) -> None:
    """A client would take it for its own proxy's, or change its own connection; the words say what it was."""
    error = attempt_error(
        Failure(transport="openai", model="m", verdict=verdict, status=said, said="the provider's words")
    )
    for why in (
        refused(error),
        refused(
            AllAttemptsFailedError(
                "deriver", (Attempt(1, "openai", "m", verdict, 0, 1, status=said, reason="the provider's words"),)
            )
        ),
    ):
        assert why.status == told
        assert "the provider's words" in why.said


@pytest.mark.parametrize(
    ("why", "headers"),
    [
        (Refused(503, "x", retry_after=0.2), (("retry-after", "1"),)),
        (Refused(503, "x", retry_after=7.0, is_final=True), (("retry-after", "7"), ("x-should-retry", "false"))),
        (Refused(400, "x", is_final=True), (("x-should-retry", "false"),)),
    ],
)
def test_when_to_ask_again(why: Refused, headers: Any) -> None:
    """Whole seconds, rounded up; and whether an SDK should try again by itself."""
    assert why.headers == headers
