"""A simulated Portal over HTTP: what a request asks for, and how its answer looks. Pure.

Paths, fields and codes as Hermes Agent uses them (`auth_device_flow.py`, `auth_nous.py`) and as RFC 6749 and RFC 8628
have them. A page that is no JSON comes from what stands before the Portal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, assert_never, final
from urllib.parse import parse_qsl

from ._incoming import Incoming
from ._portal import Portal
from ._portal_tokens import fingerprint
from ._portal_values import AgentKey, Denied, DeviceCode, Limited, Login, PortalRequest, Retired
from ._script import Status

DEVICE_PATH = "/api/oauth/device/code"
TOKEN_PATH = "/api/oauth/token"
MINT_PATH = "/api/oauth/agent-key"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REFRESH_HEADER = "x-nous-refresh-token"


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What the Portal is asked: the kind, the token that was shown, and the fields of the body."""

    kind: PortalRequest
    token: str = field(repr=False)
    fields: Mapping[str, Any] = field(repr=False)


@final
@dataclass(frozen=True, slots=True)
class Addresses:
    """Base URLs of the Portal and of the inference that it guards."""

    portal: str
    inference: str


def html_page(status: int, *, headers: Mapping[str, str] | None = None) -> Status:
    """Return what a gateway says in its own name: HTML."""
    body = f"<!DOCTYPE html><html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
    return Status(status, 0.0, {"server": "Vercel", **(headers or {})}, body.encode(), "text/html; charset=utf-8")


EDGE_BLOCK = html_page(403, headers={"x-vercel-mitigated": "challenge", "retry-after": "30"})
"""A firewall before the Portal took the request for a robot's."""


def understood(portal: Portal, asked: Incoming) -> Asked | Status:
    """Return what a request asks for, and count it; or how it is refused unread."""
    if asked.path not in {DEVICE_PATH, TOKEN_PATH, MINT_PATH}:
        return html_page(404)
    if asked.method != "POST":
        return html_page(405, headers={"allow": "POST"})
    meant = _minting(asked) if asked.path == MINT_PATH else _granting(portal, asked)
    if isinstance(meant, Denied):
        return _denied(meant)
    portal.counts.asked[meant.kind] += 1
    if meant.kind == "refresh":
        portal.counts.refreshes[fingerprint(meant.token)] += 1
    return meant


def answer(portal: Portal, asked: Asked, addresses: Addresses, now: float) -> Status:
    """Do what is asked, and return the answer."""
    client_id, fields = asked.fields.get("client_id", ""), asked.fields
    match portal.limited(now) or asked.kind:
        case Limited(retry_after):
            return html_page(429, headers={"retry-after": str(math.ceil(retry_after))})
        case "device":
            return _device(portal.device(client_id, fields.get("scope", ""), now), addresses)
        case "poll":
            return _granted(portal, portal.poll(asked.token, client_id, now), addresses, now)
        case "refresh":
            left_out = frozenset[str]() if portal.rules.rotates else frozenset({"refresh_token"})
            return _granted(portal, portal.refresh(asked.token, client_id, now), addresses, now, left_out=left_out)
        case "mint":
            return _minted(portal.mint(asked.token, fields["min_ttl_seconds"], now), addresses, now)
        case never:
            assert_never(never)


def _minting(asked: Incoming) -> Asked | Denied:
    try:
        fields = json.loads(asked.body)
    except ValueError:
        fields = None
    shortest = fields.get("min_ttl_seconds") if isinstance(fields, dict) else None
    if not isinstance(shortest, (int, float)) or not _is(asked, "application/json"):
        return Denied("invalid_request", "The body is JSON with a number min_ttl_seconds")
    return Asked("mint", asked.bearer or "", {"min_ttl_seconds": shortest})


def _granting(portal: Portal, asked: Incoming) -> Asked | Denied:
    if not _is(asked, "application/x-www-form-urlencoded"):
        return Denied("invalid_request", "The body is a form")
    fields = dict(parse_qsl(asked.body.decode("utf-8", "replace")))
    if asked.path == DEVICE_PATH:
        return Asked("device", "", fields)
    if fields.get("grant_type") == DEVICE_GRANT:
        return Asked("poll", fields.get("device_code", ""), fields)
    if fields.get("grant_type") != "refresh_token":
        return Denied("unsupported_grant_type", "The grant type is unknown")
    in_body = fields.get("refresh_token") if portal.rules.reads_body else None
    token = asked.headers.get(REFRESH_HEADER) or in_body
    return Asked("refresh", token, fields) if token else Denied("invalid_request", "The refresh token is missing")


def _is(asked: Incoming, content_type: str) -> bool:
    return asked.headers.get("content-type", "").partition(";")[0].strip().lower() == content_type


def _granted(
    portal: Portal, given: Login | Denied, addresses: Addresses, now: float, *, left_out: frozenset[str] = frozenset()
) -> Status:
    if isinstance(given, Denied):
        return _denied(given)
    fields = {
        "access_token": given.access_token,
        "refresh_token": given.refresh_token,
        "expires_in": int(given.expires_at - now),
        "token_type": "Bearer",
        "scope": given.scope,
        "inference_base_url": portal.rules.inference_base_url or addresses.inference,
    }
    omitted = portal.rules.omits | left_out
    return _json(200, {name: value for name, value in fields.items() if name not in omitted})


def _device(given: DeviceCode | Denied, addresses: Addresses) -> Status:
    if isinstance(given, Denied):
        return _denied(given)
    approval = f"{addresses.portal}/manage-subscription"
    return _json(
        200,
        {
            "device_code": given.device_code,
            "user_code": given.user_code,
            "verification_uri": approval,
            "verification_uri_complete": f"{approval}?user_code={given.user_code}",
            "expires_in": int(given.expires_in),
            "interval": int(given.interval),
        },
    )


def _minted(given: AgentKey | Denied | Retired, addresses: Addresses, now: float) -> Status:
    if isinstance(given, Denied):
        return _denied(given)
    if isinstance(given, Retired):  # what its 410 really says is not known
        return html_page(404) if given.status == 404 else Status(410, 0.0, {"server": "Vercel"}, b"", "text/plain")
    return _json(
        200,
        {
            "api_key": given.api_key,
            "key_id": given.key_id,
            "expires_at": datetime.fromtimestamp(given.expires_at, UTC).isoformat(),
            "expires_in": int(given.expires_at - now),
            "reused": given.reused,
            "inference_base_url": addresses.inference,
        },
    )


def _denied(denied: Denied) -> Status:
    return _json(denied.status, {"error": denied.error, "error_description": denied.description})


def _json(status: int, fields: Mapping[str, object]) -> Status:
    # RFC 6749, section 5.1: nobody stores an answer with tokens
    return Status(status, 0.0, {"server": "Vercel", "cache-control": "no-store"}, json.dumps(fields).encode())
