"""A simulated Portal over sockets: what clients see of it, what gets lost on the way, and who loses a login."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest

from understudy.simulation import (
    EDGE_BLOCK,
    NOUS_ERRORS,
    Answer,
    Breaks,
    Cut,
    Hang,
    Login,
    Lost,
    NousErrorName,
    PortalFault,
    PortalRules,
    Raw,
    Refused,
    Reset,
    Script,
    SimulatedPortal,
    Slow,
    Status,
    fingerprint,
    html_page,
    jwt_claims,
    simulated_portal,
)
from understudy.simulation import Phase as ScriptPhase

pytestmark = [pytest.mark.anyio, pytest.mark.sockets]

CHAT = {"model": "hermes", "messages": [{"role": "user", "content": "one two"}]}
TRANSPORT_ERRORS = (httpx2.ReadError, httpx2.RemoteProtocolError)
MINTING = "inference:mint_agent_key"


def client(**options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=None, **options)


async def refresh(http: httpx2.AsyncClient, server: SimulatedPortal, token: str) -> httpx2.Response:
    """Refresh as Hermes Agent does."""
    return await http.post(
        f"{server.portal_url}/api/oauth/token",
        headers={"x-nous-refresh-token": token, "accept": "application/json"},
        data={"grant_type": "refresh_token", "client_id": "hermes-cli"},
    )


async def ask(http: httpx2.AsyncClient, server: SimulatedPortal, bearer: str, **more: Any) -> httpx2.Response:
    """Ask for a completion."""
    headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
    return await http.post(f"{server.inference_url}/chat/completions", headers=headers, json=CHAT | more)


class TestPortal:
    """The Portal, asked by a plain HTTP client."""

    async def test_a_correct_sequence_keeps_its_login(self) -> None:
        """Refresh before the end, use only the newest pair, for a day: each POST shows another token, all succeed."""
        async with simulated_portal() as server, client() as http:
            pair = server.log_in()
            access, token, shown = pair.access_token, pair.refresh_token, []
            for _ in range(24):
                await anyio.sleep(3500)
                assert (await ask(http, server, access)).status_code == 200
                shown.append(fingerprint(token))
                given = (await refresh(http, server, token)).raise_for_status().json()
                assert (await ask(http, server, access)).status_code == 401
                access, token = given["access_token"], given["refresh_token"]
                assert (await ask(http, server, access)).status_code == 200
            counts = server.portal.counts
            assert counts.refreshes == dict.fromkeys(shown, 1)
            assert (len(shown), counts.reuses, counts.revoked) == (24, 0, 0)
            live = server.portal.live(pair.family)
            assert live is not None
            assert (live.access_token, live.refresh_token) == (access, token)

    @pytest.mark.parametrize("grace", [0.0, 30.0])
    async def test_naive_clients_lose_the_login(self, grace: float) -> None:
        """Sixteen that refresh one token at once: the login is revoked, and the one that was first is out as well.

        Only a Portal with a grace window forgives them.
        """
        async with simulated_portal(PortalRules(grace_for=grace)) as server, client() as http:
            pair = server.log_in()
            server.portal.expire_access(pair.family)
            got: list[httpx2.Response] = []

            async def naive() -> None:
                assert (await ask(http, server, pair.access_token)).status_code == 401
                got.append(await refresh(http, server, pair.refresh_token))

            async with anyio.create_task_group() as callers:
                for _ in range(16):
                    callers.start_soon(naive)
            succeeded = [answer.json()["access_token"] for answer in got if answer.status_code == 200]
            after = [(await ask(http, server, access)).status_code for access in succeeded]
            counts = server.portal.counts
            assert counts.refreshes == {fingerprint(pair.refresh_token): 16}
            assert counts.inference[fingerprint(pair.access_token)] == 16
            if grace:
                assert (after, counts.reuses, counts.revoked) == ([200] * 16, 0, 0)
            else:
                assert (after, counts.reuses, counts.revoked) == ([401], 15, 1)
                assert server.portal.live(pair.family) is None
                assert {answer.json()["error"] for answer in got if answer.status_code != 200} == {"invalid_grant"}

    async def test_a_login_by_device_code(self) -> None:
        """Code, poll, approval, tokens; inference takes the access token."""
        async with simulated_portal() as server, client() as http:
            base, named = server.portal_url, {"client_id": "hermes-cli"}
            begun = await http.post(f"{base}/api/oauth/device/code", data={**named, "scope": "inference:invoke"})
            code = begun.json()
            assert code["verification_uri_complete"].startswith(f"{base}/manage-subscription?user_code=")
            grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": code["device_code"]}
            polled = []
            for wait in (5, 1, 10, 5):
                await anyio.sleep(wait)
                answer = (await http.post(f"{base}/api/oauth/token", data=grant | named)).json()
                polled.append(answer.get("error"))
                if len(polled) == 3:
                    server.portal.decide(code["user_code"], "approved")
            assert polled == ["authorization_pending", "slow_down", "authorization_pending", None]
            assert answer["inference_base_url"] == server.inference_url
            assert (await ask(http, server, answer["access_token"])).status_code == 200
            assert server.portal.counts.asked == {"device": 1, "poll": 4}

    @pytest.mark.parametrize("status", [200, 404, 410])
    async def test_an_agent_key_is_minted_or_no_more(self, status: Any) -> None:
        """With a 200 there is a key that inference takes until it expires."""
        async with simulated_portal(PortalRules(mint=status, key_for=7200)) as server, client() as http:
            bearer = {"authorization": f"Bearer {server.log_in(scope=MINTING).access_token}"}
            url = f"{server.portal_url}/api/oauth/agent-key"
            answer = await http.post(url, headers=bearer, json={"min_ttl_seconds": 7200})
            assert answer.status_code == status
            if status == 200:
                key = answer.json()["api_key"]
                assert (await ask(http, server, key)).status_code == 200
                await anyio.sleep(7200)
                assert (await ask(http, server, key)).status_code == 401
            assert server.portal.counts.asked == {"mint": 1}

    async def test_the_limit_is_a_page(self) -> None:
        """The 26th request of a minute gets HTML, and the login does not suffer; a minute later all is well."""
        async with simulated_portal(PortalRules(rotates=False)) as server, client() as http:
            pair = server.log_in()
            statuses = [(await refresh(http, server, pair.refresh_token)).status_code for _ in range(25)]
            limited = await refresh(http, server, pair.refresh_token)
            assert statuses == [200] * 25
            assert (limited.status_code, limited.headers["content-type"]) == (429, "text/html; charset=utf-8")
            await anyio.sleep(float(limited.headers["retry-after"]))
            assert (await refresh(http, server, pair.refresh_token)).status_code == 200

    @pytest.mark.parametrize(
        ("path", "method", "status"), [("/api/oauth/token", "GET", 405), ("/", "GET", 404), ("/api/x", "POST", 404)]
    )
    async def test_what_is_nowhere_is_a_page(self, path: str, method: str, status: int) -> None:
        """As what stands before the Portal answers; it is received, and nothing was asked."""
        async with simulated_portal() as server, client() as http:
            answer = await http.request(method, server.portal_url + path)
            assert (answer.status_code, answer.headers["server"]) == (status, "Vercel")
            assert [(asked.method, asked.path) for asked in server.received] == [(method, path)]
            assert not server.portal.counts.asked

    async def test_its_clock_goes_with_the_loop_or_is_given(self) -> None:
        """A token ends an hour after it was given out, by whichever clock the Portal has."""
        now = 1_000_000.0
        async with simulated_portal(now=lambda: now) as given, simulated_portal() as own, client() as http:
            pairs = [(given, given.log_in()), (own, own.log_in())]
            assert jwt_claims(pairs[0][1].access_token)["exp"] == 1_003_600
            assert jwt_claims(pairs[1][1].access_token)["exp"] > 1_700_000_000
            await anyio.sleep(3601)
            assert [(await ask(http, at, pair.access_token)).status_code for at, pair in pairs] == [200, 401]
            now += 3601
            assert (await ask(http, given, pairs[0][1].access_token)).status_code == 401

    async def test_tokens_differ_from_portal_to_portal(self) -> None:
        """Unless they are drawn from one seed."""
        async with simulated_portal() as one, simulated_portal() as two:
            assert one.log_in().refresh_token != two.log_in().refresh_token
        async with simulated_portal(seed="s", now=lambda: 0) as one, simulated_portal(seed="s", now=lambda: 0) as two:
            assert one.log_in() == two.log_in()

    async def test_nothing_is_logged_and_nothing_is_shown(self, caplog: pytest.LogCaptureFixture) -> None:
        """No token in a log of ours or in what an object says of itself."""
        caplog.set_level(logging.DEBUG)
        async with simulated_portal() as server, client() as http:
            pair = server.log_in()
            given = (await refresh(http, server, pair.refresh_token)).json()
            await refresh(http, server, pair.refresh_token)
            await ask(http, server, given["access_token"])
            shown = caplog.text + repr([pair, server, server.portal, server.received, server.inference.received])
            tokens = (pair.access_token, pair.refresh_token, given["access_token"], given["refresh_token"])
            assert not [token for token in tokens if token in shown]


def rotated(server: SimulatedPortal, pair: Login) -> bool:
    return server.portal.live(pair.family) != pair


class TestFaults:
    """What goes wrong on the way to the Portal, and on the way back."""

    @pytest.mark.parametrize("fault", [html_page(503), EDGE_BLOCK, Status(307, headers={"location": "http://x.test"})])
    async def test_an_outage_does_nothing(self, fault: Status) -> None:
        """The status, the page and its headers; the token is still good for one refresh."""
        async with simulated_portal() as server, client() as http:
            pair = server.log_in()
            server.fault("refresh", fault)
            answer = await refresh(http, server, pair.refresh_token)
            assert (answer.status_code, answer.content) == (fault.status, fault.body or b"")
            assert fault.headers.items() <= answer.headers.items()
            assert not rotated(server, pair)
            assert (await refresh(http, server, pair.refresh_token)).status_code == 200
            assert server.portal.counts.refreshes == {fingerprint(pair.refresh_token): 2}

    @pytest.mark.parametrize(
        ("fault", "done"),
        [
            (Reset(), False),
            (Reset(after=2), False),
            (Raw(b"no http\r\n\r\n"), False),
            (Lost(), True),
            (Lost(Reset(after=2)), True),
            (Lost(Raw(b"")), True),
            (Lost(Cut()), True),
        ],
    )
    async def test_a_connection_breaks(self, fault: PortalFault, done: bool) -> None:
        """The client cannot tell whether its token was spent; where it was, showing it again is the end."""
        async with simulated_portal() as server, client() as http:
            pair = server.log_in()
            server.fault("refresh", fault)
            with pytest.raises(TRANSPORT_ERRORS):
                await refresh(http, server, pair.refresh_token)
            assert rotated(server, pair) is done
            again = await refresh(http, server, pair.refresh_token)
            assert again.status_code == (400 if done else 200)
            assert server.portal.counts.revoked == done

    async def test_a_cut_answer_is_half_of_it(self) -> None:
        """The head promises all of the body, and half of it comes."""
        async with simulated_portal() as server, client() as http:
            pair = server.log_in()
            server.fault("refresh", Lost(Cut()))
            headers, form = {"x-nous-refresh-token": pair.refresh_token}, {"grant_type": "refresh_token"}
            body = b""
            with pytest.raises(TRANSPORT_ERRORS):
                url = f"{server.portal_url}/api/oauth/token"
                async with http.stream("POST", url, headers=headers, data=form | {"client_id": "hermes-cli"}) as cut:
                    async for data in cut.aiter_raw():
                        body += data
            assert cut.status_code == 200
            assert len(body) in {0, int(cut.headers["content-length"]) // 2}  # a reset may overtake what was sent

    async def test_a_page_in_place_of_the_answer(self) -> None:
        """A gateway gives up on a Portal that has rotated."""
        async with simulated_portal() as server, client() as http:
            pair = server.log_in()
            server.fault("refresh", Lost(html_page(502)))
            assert (await refresh(http, server, pair.refresh_token)).status_code == 502
            assert rotated(server, pair)

    @pytest.mark.parametrize(("fault", "done"), [(Hang(), False), (Lost(Hang()), True)])
    async def test_no_answer_ever(self, fault: PortalFault, done: bool) -> None:
        """The client gives up, and the Portal sees it go."""
        async with simulated_portal() as server, client() as http:
            pair = server.log_in()
            server.fault("refresh", fault)
            with anyio.move_on_after(15) as waited:
                await refresh(http, server, pair.refresh_token)
            await anyio.sleep(1)
            assert waited.cancelled_caught
            assert (server.left, rotated(server, pair)) == (1, done)

    @pytest.mark.parametrize("slow", [Slow(before=20), Slow(after=20), Slow(10, 10)])
    async def test_a_slow_portal_rotates_whether_its_client_waits_or_not(self, slow: Slow) -> None:
        """Who waits gets the answer; who does not has spent the token all the same."""
        async with simulated_portal() as server, client() as http:
            patient, hasty = server.log_in(), server.log_in()
            server.fault("refresh", slow, slow)
            began = anyio.current_time()
            assert (await refresh(http, server, patient.refresh_token)).status_code == 200
            assert anyio.current_time() - began == pytest.approx(20, abs=0.2)
            with anyio.move_on_after(5):
                await refresh(http, server, hasty.refresh_token)
            assert rotated(server, hasty) is (slow.before == 0)
            await anyio.sleep(20)
            assert rotated(server, hasty)

    async def test_faults_are_per_kind_and_in_order(self) -> None:
        """One per request, then what stands; each call replaces the one before."""
        async with simulated_portal(PortalRules(rotates=False)) as server, client() as http:
            pair = server.log_in()

            async def statuses(times: int) -> list[int]:
                return [(await refresh(http, server, pair.refresh_token)).status_code for _ in range(times)]

            server.fault("device", then=html_page(500))
            server.fault("refresh", html_page(502), Slow(), then=html_page(503))
            assert await statuses(4) == [502, 200, 503, 503]
            server.fault("refresh")
            assert await statuses(1) == [200]
            begun = await http.post(f"{server.portal_url}/api/oauth/device/code", data={"client_id": "hermes-cli"})
            assert begun.status_code == 500

    async def test_nobody_listens_for_a_while(self) -> None:
        """No connection is made, those that were open are gone, and inference goes on; then the same port answers."""
        async with simulated_portal() as server, client() as http:
            pair = server.log_in()
            for _ in range(2):
                async with server.refusing():
                    with pytest.raises(httpx2.ConnectError):
                        await refresh(http, server, pair.refresh_token)
                    assert (await ask(http, server, pair.access_token)).status_code == 200
            assert not server.portal.counts.asked
            assert (await refresh(http, server, pair.refresh_token)).status_code == 200


class TestInference:
    """Inference, which asks the Portal's memory whom to let in."""

    async def test_who_is_let_in_is_answered(self) -> None:
        """Whole and as a stream, with the headers of a budget and of credits."""
        async with simulated_portal(script=Script.always(Answer("a b c"))) as server, client() as http:
            for bearer in (server.log_in().access_token, server.portal.issue_key()):
                whole = await ask(http, server, bearer)
                assert whole.json()["choices"][0]["message"]["content"] == "a b c"
                stream = await ask(http, server, bearer, stream=True)
                assert stream.headers["content-type"] == "text/event-stream"
                chunks = [line[6:] for line in stream.text.splitlines() if line.startswith("data: {")]
                said = [json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks]
                assert "".join(said) == "a b c"
                for answer in (whole, stream):
                    assert len([name for name in answer.headers if name.startswith("x-ratelimit-")]) == 12
                    assert answer.headers["x-nous-credits-paid-access"] == "true"
                assert server.portal.counts.inference[fingerprint(bearer)] == 2
            assert not server.portal.counts.refused

    async def test_who_is_not_is_told_so_flatly(self) -> None:
        """A 401 for what is no live token, a 403 in JSON without the scope; no `error` object."""
        async with simulated_portal() as server, client() as http:
            pair, gone, minting = server.log_in(), server.log_in(), server.log_in(scope=MINTING)
            server.portal.revoke(gone.family)
            for bearer in ("", "nobody's", pair.refresh_token, gone.access_token, minting.access_token):
                answer = await ask(http, server, bearer)
                is_scope = bearer == minting.access_token
                assert answer.status_code == answer.json()["status"] == (403 if is_scope else 401)
                assert answer.json()["error"] == ("forbidden" if is_scope else "invalid_token")
                assert server.portal.counts.refused[fingerprint(bearer)] == 1
            assert server.inference.log == []
            assert len(server.inference.received) == 5

    async def test_who_names_no_agent_is_blocked_at_the_edge(self) -> None:
        """With a page of Cloudflare's, whatever the token; nothing is counted."""
        async with simulated_portal() as server, client() as http:
            http.headers.pop("user-agent")
            answer = await ask(http, server, server.log_in().access_token)
            assert (answer.status_code, "error code: 1010" in answer.text) == (403, True)
            assert not server.portal.counts.inference

    @pytest.mark.parametrize("name", list(NOUS_ERRORS))
    async def test_its_errors_can_be_played(self, name: NousErrorName) -> None:
        """Each with its status and its body; a 429 is the account's only where its budget is used up for long."""
        error = NOUS_ERRORS[name]
        async with simulated_portal(script=Script.always(error)) as server, client() as http:
            answer = await ask(http, server, server.log_in().access_token)
        assert (answer.status_code, answer.content) == (error.status, error.body)
        assert answer.headers["content-type"] == error.content_type
        spent = [h for h, value in answer.headers.items() if h.startswith("x-ratelimit-remaining") and value == "0"]
        assert bool(spent) is (name == "account_limit")
        assert answer.headers["x-nous-credits-paid-access"] == ("false" if name == "billing" else "true")
        if name != "edge_block":
            assert answer.json()["status"] == error.status
            assert not isinstance(answer.json().get("error"), dict)

    async def test_it_follows_its_script(self) -> None:
        """Statuses without a body are flat, streams break off, and nobody may be listening, as with any vendor."""
        phases = (ScriptPhase(Status(500), calls=1), ScriptPhase(Breaks(Answer("a b"), 1), calls=1))
        script = Script((ScriptPhase(Refused(), since=5, until=10), *phases))
        async with simulated_portal(script=script) as server, client() as http:
            bearer = server.log_in().access_token
            assert (await ask(http, server, bearer)).json() == {"status": 500, "message": "simulated 500"}
            with pytest.raises(TRANSPORT_ERRORS):
                await ask(http, server, bearer, stream=True)
            await anyio.sleep(6)
            with pytest.raises(httpx2.ConnectError):
                await ask(http, server, bearer)
            await anyio.sleep(6)
            assert (await ask(http, server, bearer)).status_code == 200
