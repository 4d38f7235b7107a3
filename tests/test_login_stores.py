"""Stores: every layout read and written, everything of others left alone, and what is unreadable never touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.credentials._login import CLIENT_ID, Granted, Login, bootstrap, granted, preferred, renewed
from understudy.credentials._secret import Secret
from understudy.credentials._store_fields import iso, unix
from understudy.credentials._stores import (
    Absent,
    Corrupt,
    Guest,
    Layout,
    Stored,
    parse,
    quarantined,
    render,
    source,
    speaks_of_nous,
)

from .logins import KEY, WALL, jwt, login, mark

NEW = login("rt-2")
TOKENS = {"access_token": "at-1", "refresh_token": "rt-1"}


def told(document: object) -> bytes:
    return json.dumps(document).encode()


def stored(document: object) -> Stored:
    found = parse(told(document))
    assert isinstance(found, Stored)
    return found


def nested(**fields: object) -> dict[str, Any]:
    return {
        "version": 1,
        "active_provider": "other",
        "providers": {"other": {"api_key": "untouched", "n": 2**70}, "nous": {**TOKENS, **fields}},
        "credential_pool": {
            "nous": [
                {"id": "a", "source": "device_code", **TOKENS, "agent_key": "at-1"},
                {"id": "b", "source": "manual", "access_token": "z", "refresh_token": "rt-9"},
                "odd",
            ],
            "other": [1],
        },
        "unknown": {"deep": [1, None, "é"]},
    }


@pytest.mark.parametrize(
    ("document", "layout"),
    [
        (nested(), Layout.NESTED),
        ({"systems": {"nous_portal": TOKENS}}, Layout.LEGACY),
        ({"providers": {"nous": {}}, "systems": {"nous_portal": TOKENS}}, Layout.LEGACY),
        ({"_schema": "hermes.nous_auth.v1", **TOKENS}, Layout.FLAT),
        (TOKENS, Layout.FLAT),
    ],
)
def test_every_layout_is_read(document: object, layout: Layout) -> None:
    """The same login stands in each, with or without a byte order mark."""
    for data in (told(document), b"\xef\xbb\xbf" + told(document)):
        found = parse(data)
        assert isinstance(found, Stored)
        assert found.layout is layout
        assert (found.login.access, found.login.refresh) == (Secret("at-1"), Secret("rt-1"))


def test_all_fields_are_read() -> None:
    """Times without a zone are UTC; what is of another kind is as if it were not there."""
    fields = {
        **TOKENS,
        "scope": "inference:invoke tool:invoke",
        "client_id": "mine",
        "token_type": "bearer",
        "obtained_at": "2027-01-15T08:00:00",
        "expires_at": "2027-01-15T09:00:00Z",
        "portal_base_url": "https://p",
        "inference_base_url": "https://i",
        "agent_key": "minted",
        "agent_key_expires_at": WALL,
        "grant_issued_at": WALL,
        "tls": {"insecure": True, "ca_bundle": "/ca.pem"},
    }
    assert stored(fields).login == Login(
        Secret("at-1"),
        Secret("rt-1"),
        frozenset({"inference:invoke", "tool:invoke"}),
        WALL,
        WALL + 3600,
        "mine",
        "bearer",
        "https://p",
        "https://i",
        Secret("minted"),
        WALL,
        WALL,
        "/ca.pem",
        insecure=True,
    )
    odd = stored({**TOKENS, "client_id": 5, "tls": [], "scope": None, "expires_at": "soon", "obtained_at": "x"}).login
    assert odd == Login(Secret("at-1"), Secret("rt-1"))
    assert odd.client_id == CLIENT_ID


def test_an_end_may_be_told_as_a_duration() -> None:
    """`expires_in` counts from `obtained_at`, where `expires_at` is missing."""
    assert stored({**TOKENS, "obtained_at": WALL, "expires_in": 900}).login.expires_at == WALL + 900
    assert stored({**TOKENS, "expires_in": 900}).login.expires_at is None


def test_a_copy_of_the_access_token_is_no_key() -> None:
    """The copy is for other readers; only a key of its own was minted."""
    assert stored({**TOKENS, "agent_key": "at-1"}).login.key is None
    assert stored({"agent_key": "k"}).login.key == Secret("k")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"  ",
        b"{",
        b'{"access_token": "at',
        b"\xff\xfe",
        b"[]",
        b'"x"',
        b'{"providers": []}',
        b'{"providers": {"nous": 5}}',
        b'{"systems": 5}',
        b"[" * 100_000,
    ],
)
def test_what_says_nothing_readable_is_corrupt(data: bytes) -> None:
    """It is never taken for empty, and what it holds is not repeated."""
    found = parse(data)
    assert isinstance(found, Corrupt)
    assert "at" not in found.problem.split()


@pytest.mark.parametrize("cut", range(1, 200, 7))
def test_every_truncation_is_corrupt(cut: int) -> None:
    """A write that stopped anywhere is noticed."""
    assert isinstance(parse(told(nested())[:-cut]), Corrupt)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, Absent()),
        (b"{}", Absent(Layout.FLAT, {})),
        (b'{"providers": {"x": 1}}', Absent(Layout.NESTED, {"providers": {"x": 1}})),
        (b'{"systems": {"nous_portal": {}}}', Absent(Layout.NESTED, {"systems": {"nous_portal": {}}})),
        (
            b'{"providers": {"nous": {"access_token": " "}}}',
            Absent(Layout.NESTED, {"providers": {"nous": {"access_token": " "}}}),
        ),
        (b'{"auth_method": "anonymous"}', Guest()),
        (b'{"providers": {"nous": {"anon_token": "x", "access_token": "y"}}}', Guest()),
    ],
)
def test_where_nobody_is_logged_in(data: bytes | None, expected: object) -> None:
    """A missing file, one without tokens, and a guest are no login."""
    assert parse(data) == expected


def test_a_profile_without_a_login_uses_the_roots() -> None:
    """Only where the profile has none, and the root has anything; what cannot be read is not passed over."""
    mine, roots = stored(TOKENS), stored(nested())
    assert source(mine, roots) == (mine, False)
    assert source(Absent(), roots) == (roots, True)
    assert source(Absent(), Corrupt("x")) == (Corrupt("x"), True)
    assert source(Corrupt("x"), roots) == (Corrupt("x"), False)
    assert source(Absent(), Absent()) == (Absent(), False)


def test_a_nested_store_keeps_everything_else() -> None:
    """Only our own entry, and the pool's row with the old refresh token, get the new pair."""
    before = nested(last_auth_error={"code": "x"}, label="kept", agent_key="at-1", scope="inference:invoke")
    after = json.loads(render(stored(before), NEW, WALL))
    ours = after["providers"].pop("nous")
    access = jwt(name="rt-2")
    assert (ours["access_token"], ours["refresh_token"], ours["label"], ours["agent_key"]) == (
        access,
        "rt-2",
        "kept",
        access,
    )
    assert ours["scope"] == "inference:invoke"
    assert "last_auth_error" not in ours
    assert after.pop("updated_at") == iso(WALL)
    first, second, third = after["credential_pool"].pop("nous")
    assert first == {
        "id": "a",
        "source": "device_code",
        "access_token": access,
        "refresh_token": "rt-2",
        "agent_key": access,
    }
    expected = nested()
    assert [second, third] == expected["credential_pool"].pop("nous")[1:]
    expected["providers"].pop("nous")
    assert after == expected
    assert list(after) == ["version", "active_provider", "providers", "credential_pool", "unknown"]


@pytest.mark.parametrize("pool", [None, [], {"nous": 5}, {"other": []}])
def test_a_pool_of_another_shape_is_left_alone(pool: object) -> None:
    """Whatever stands there, stands there afterwards."""
    before = {"providers": {"nous": TOKENS}, "credential_pool": pool}
    assert json.loads(render(stored(before), NEW, WALL))["credential_pool"] == pool
    assert json.loads(quarantined(stored(before), code="c", message="m", at=WALL))["credential_pool"] == pool


def test_a_legacy_login_moves_to_its_present_place() -> None:
    """What was read in the old place is written in the new one; the old one stays as it was."""
    after = json.loads(render(stored({"systems": {"nous_portal": {**TOKENS, "label": "l"}}}), NEW, WALL))
    assert after["providers"]["nous"]["label"] == "l"
    assert after["systems"]["nous_portal"]["refresh_token"] == "rt-1"
    assert parse(told(after)) == Stored(read_back(after), Layout.NESTED, after)


def read_back(document: dict[str, Any]) -> Login:
    return stored(document).login


def test_a_flat_store_has_no_copy_of_the_token() -> None:
    """Unknown fields stay; a key is written only if one was minted; the age of the grant is kept."""
    after = json.loads(render(stored({**TOKENS, "user_id": "u", "last_auth_error": {}}), NEW, WALL))
    assert after["_schema"] == 1
    assert after["user_id"] == "u"
    assert "agent_key" not in after
    assert "last_auth_error" not in after
    own = json.loads(render(Absent(), Login(refresh=Secret("r"), key=Secret("k"), grant_issued_at=WALL), WALL))
    assert (own["agent_key"], own["grant_issued_at"], own["access_token"]) == ("k", iso(WALL), None)


@pytest.mark.parametrize("found", [Absent(), Absent(Layout.NESTED, {"providers": 5}), Absent(Layout.NESTED, {"a": 1})])
def test_a_first_login_is_written(found: Absent) -> None:
    """A store that had none holds it afterwards."""
    if found.document == {"providers": 5}:
        found = Absent(Layout.NESTED, {"providers": None})
    after = parse(render(found, NEW, WALL))
    assert isinstance(after, Stored)
    assert after.login.refresh == Secret("rt-2")


@given(
    st.builds(
        Login,
        st.builds(Secret, st.text("ab.", min_size=1)),
        st.builds(Secret, st.text("abé", min_size=1)),
        st.frozensets(st.sampled_from(["a", "b:c"])),
        st.integers(1, 2_000_000_000).map(float),
        st.integers(1, 2_000_000_000).map(float),
        portal=st.sampled_from(["", "https://p"]),
        inference=st.sampled_from(["", "https://i"]),
    ),
    st.sampled_from([Absent(), Absent(Layout.NESTED, {"x": 1})]),
)
def test_what_is_written_is_read(one: Login, into: Absent) -> None:
    """Writing and reading give the same login back, in either layout."""
    after = parse(render(into, one, WALL))
    assert isinstance(after, Stored)
    assert after.login == one


def test_a_dead_login_leaves_its_place_and_its_reason() -> None:
    """The tokens go, with the rows of the same device code; the addresses, the label and all others stay."""
    fields = {"label": "l", "expires_in": 5, "agent_key": "k"}
    after = json.loads(quarantined(stored(nested(**fields)), code="invalid_grant", message="over", at=WALL))
    ours = after["providers"]["nous"]
    assert ours.pop("last_auth_error") == {
        "provider": "nous",
        "message": "over",
        "reason": "invalid_grant",
        "relogin_required": True,
        "code": "invalid_grant",
        "at": iso(WALL),
    }
    assert ours == {"label": "l"}
    assert [row if isinstance(row, str) else row["id"] for row in after["credential_pool"]["nous"]] == ["b", "odd"]
    assert after["providers"]["other"] == nested()["providers"]["other"]
    assert isinstance(parse(told(after)), Absent)
    flat = json.loads(quarantined(stored({**TOKENS, "portal_base_url": "p"}), code="c", message="m", at=WALL))
    assert set(flat) == {"portal_base_url", "last_auth_error", "updated_at"}
    legacy = json.loads(quarantined(stored({"systems": {"nous_portal": TOKENS}}), code="c", message="m", at=WALL))
    assert isinstance(parse(told(legacy)), Absent)


def test_quarantine_of_a_document_that_lost_its_entry_changes_nothing_else() -> None:
    """What is not there cannot be taken away."""
    found = Stored(NEW, Layout.NESTED, {"providers": {"x": 1}})
    assert json.loads(quarantined(found, code="c", message="m", at=WALL))["providers"] == {"x": 1}


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("2027-01-15T08:00:00", WALL),
        ("2027-01-15T09:00:00+01:00", WALL),
        (WALL, WALL),
        ("9999-12-31T23:59:59-23:00", None),
        ("", None),
        ([], None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_stored_times(value: object, at: float | None) -> None:
    """ISO 8601 in any zone, or Unix time; what is neither is no time."""
    assert unix(value) == at


OLD, LATE = login("a", obtained_at=WALL), login("b", obtained_at=WALL + 5)
PART, UNTOLD = login("c", None, obtained_at=WALL + 99), login("d", obtained_at=None)


@pytest.mark.parametrize(
    ("logins", "wins"),
    [
        ([], None),
        ([OLD], OLD),
        ([OLD, LATE], LATE),
        ([LATE, OLD], LATE),
        ([OLD, UNTOLD], UNTOLD),
        ([UNTOLD, OLD], OLD),
        ([OLD, PART], OLD),
        ([PART, OLD], OLD),
        ([PART], PART),
        ([LATE, login("e", obtained_at=WALL + 5)], login("e", obtained_at=WALL + 5)),
    ],
)
def test_which_store_counts(logins: list[Login], wins: Login | None) -> None:
    """A whole login before a part, the later before the earlier; the shared store where that is open."""
    assert preferred(logins) == wins


def test_what_a_refresh_token_alone_makes() -> None:
    """A login that has to be renewed first; its fingerprint is the token's."""
    one = bootstrap(" rt-1\n")
    assert one.fingerprint(KEY) == mark("rt-1")
    assert not one.is_whole
    assert Login().fingerprint(KEY) == Login().fingerprint(KEY) != Login(access=Secret("x")).fingerprint(KEY)


@pytest.mark.parametrize("said", [{}, {"access_token": ""}, {"access_token": 5}, {"refresh_token": "x"}])
def test_no_grant_without_a_token(said: dict[str, object]) -> None:
    """An answer without an access token grants nothing."""
    assert granted(said) is None


def test_what_an_answer_leaves_out_stays() -> None:
    """Refresh token, scope, type and address are the old ones then; the rest is replaced."""
    one = Login(Secret("a"), Secret("r"), frozenset("s"), WALL, WALL + 1, "c", "t", "p", "i", grant_issued_at=5.0)
    bare = granted({"access_token": " b "})
    assert bare == Granted(Secret("b"))
    got = renewed(one, bare, at=WALL + 9, lives_for=None)
    assert got == Login(
        Secret("b"), Secret("r"), frozenset("s"), WALL + 9, None, "c", "t", "p", "i", grant_issued_at=5.0
    )
    full = granted(
        {
            "access_token": "b",
            "refresh_token": "q",
            "expires_in": "60",
            "scope": "x",
            "token_type": "T",
            "inference_base_url": "I",
        }
    )
    assert full is not None
    assert full.inference == "I"
    got = renewed(one, full, at=WALL, lives_for=60, inference="I")
    assert (got.refresh, got.scopes, got.expires_at, got.token_type, got.inference) == (
        Secret("q"),
        frozenset("x"),
        WALL + 60,
        "T",
        "I",
    )


def test_no_rendering_of_a_login_or_store_shows_a_token() -> None:
    """Neither in the value nor in the document around it."""
    for shown in (stored(nested(agent_key="minted-key")), granted({"access_token": "at-1", "refresh_token": "rt-1"})):
        assert not any(secret in repr(shown) for secret in ("at-1", "rt-1", "minted-key", "rt-9"))


@pytest.mark.parametrize(
    ("content", "is_ours"),
    [
        (None, False),
        ({"version": 1, "providers": {"anthropic": {}}}, False),
        ({"credential_pool": {}}, False),
        ({"providers": {"nous": {"last_auth_error": {}}}}, True),
        ({"providers": {"nous": {"access_token": "a"}}}, True),
        ({"systems": {"nous_portal": {}}}, True),
        ({"_schema": 1}, True),
        ([], True),
    ],
)
def test_which_stores_speak_of_nous(content: object, is_ours: bool) -> None:
    """One that has other providers' logins alone is none of ours; one that is not understood may be."""
    assert speaks_of_nous(parse(None if content is None else json.dumps(content).encode())) is is_ours


def test_a_token_that_claims_to_live_for_ever_can_be_written() -> None:
    """Whatever an answer claims, the pair is not lost for it: the year 9999 is late enough."""
    grant = Granted(Secret("a"), Secret("r"), 250_000_000_000.0)
    after = renewed(login("rt-1"), grant, at=WALL, lives_for=250_000_000_000.0 + WALL)
    document = json.loads(render(stored(TOKENS), after, WALL))
    assert document["expires_at"] == "9999-12-31T23:59:59+00:00"
    assert document["refresh_token"] == "r"
