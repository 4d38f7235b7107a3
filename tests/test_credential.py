"""The credential: every transition as a row, and what a renewal does under its lock."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from understudy.credentials._credential import (
    REMEMBERED,
    after_restart,
    current,
    is_living,
    may_post_at,
    refused,
    reload,
    rests_for,
    saved,
    serves_until,
    settle,
    stored,
)
from understudy.credentials._credential_values import (
    DEAD,
    Adopted,
    Answer,
    Barred,
    Bearer,
    Credential,
    Ended,
    Failed,
    Fresh,
    Idle,
    Issue,
    Join,
    Outcome,
    Phase,
    Renewed,
    Renewing,
    Stopped,
    Unsure,
    Use,
    Waiting,
    Warned,
    Why,
)
from understudy.credentials._lifetime import Term
from understudy.credentials._login import Granted, Login
from understudy.credentials._portal_answers import (
    Minted,
    MintOff,
    MintRefused,
    MintUnpaid,
    Misconfigured,
    Transient,
    Unclear,
)
from understudy.credentials._renewal import (
    Adopt,
    Leave,
    Mint,
    Post,
    Scene,
    Step,
    after_terminal,
    issue_of,
    mint_failed,
    minted,
    mints,
    outcome_of,
    plan,
    received,
)
from understudy.credentials._secret import Secret
from understudy.credentials._stores import Absent, Corrupt, Found, Guest, Unreadable

from .logins import KEY, WALL, held, jwt, login, mark

TERM = Term(100.0, 130.0, 160.0)
BEARER = Bearer(1, Secret("at-1"), TERM)
LIVE = Credential(login("rt-1", "at-1"), BEARER, Idle(), 1)
NEXT = Issue(Secret("at-2"), Term(500.0, 530.0, 560.0))
FULL = tuple(float(at) for at in range(5))


def at(phase: Phase, base: Credential = LIVE, **changes: object) -> Credential:
    return replace(base, phase=phase, **changes)  # type: ignore[arg-type]


NONE = Credential()
RENEWING = at(Renewing(7), renewals=7)
WAITING = at(Waiting(110.0, 3, Why.UNREACHABLE))
DOUBTED = replace(LIVE, doubt="rt")


@pytest.mark.parametrize(
    ("before", "now", "after", "answer"),
    [
        (LIVE, 99, LIVE, Use(BEARER)),
        (LIVE, 100, at(Renewing(1), renewals=1), Use(BEARER, starts=1)),
        (LIVE, 130, at(Renewing(1), renewals=1), Join(1, starts=True)),
        (LIVE, 160, at(Renewing(1), renewals=1), Join(1, starts=True)),
        (NONE, 0, replace(NONE, phase=Renewing(1), renewals=1), Join(1, starts=True)),
        (RENEWING, 129, RENEWING, Use(BEARER)),
        (RENEWING, 130, RENEWING, Join(7)),
        (WAITING, 99, WAITING, Use(BEARER)),
        (WAITING, 109, WAITING, Use(BEARER)),
        (WAITING, 110, at(Renewing(1, 3), renewals=1), Use(BEARER, starts=1)),
        (at(Waiting(170.0, 1, Why.BUSY)), 159, at(Waiting(170.0, 1, Why.BUSY)), Use(BEARER)),
        (at(Waiting(170.0, 1, Why.BUSY)), 160, at(Waiting(170.0, 1, Why.BUSY)), Barred(Why.BUSY, 170.0)),
        (replace(LIVE, posts=FULL), 59, replace(LIVE, posts=FULL), Use(BEARER)),
        (replace(NONE, posts=FULL), 59, replace(NONE, posts=FULL), Barred(Why.TOO_OFTEN, 60.0)),
        (
            at(Waiting(10.0, 1, Why.UNCLEAR), NONE, posts=FULL),
            59,
            at(Waiting(10.0, 1, Why.UNCLEAR), NONE, posts=FULL),
            Barred(Why.UNCLEAR, 60.0),
        ),
        (replace(NONE, posts=FULL), 60, replace(NONE, posts=FULL, phase=Renewing(1), renewals=1), Join(1, starts=True)),
        (DOUBTED, 129, DOUBTED, Use(BEARER)),
        (DOUBTED, 130, at(Renewing(1), DOUBTED, renewals=1), Join(1, starts=True)),
        (replace(LIVE, unsaved=True), 159, replace(LIVE, unsaved=True), Use(BEARER)),
        (replace(LIVE, held_until=50.0), 49, replace(LIVE, held_until=50.0), Barred(Why.REFUSED, 50.0)),
        (replace(LIVE, held_until=50.0), 50, replace(LIVE, held_until=50.0), Use(BEARER)),
        (at(Stopped(Why.MISCONFIGURED, "f")), 159, at(Stopped(Why.MISCONFIGURED, "f")), Use(BEARER)),
        (at(Stopped(Why.MISCONFIGURED, "f")), 160, at(Stopped(Why.MISCONFIGURED, "f")), Barred(Why.MISCONFIGURED)),
    ],
)
def test_who_is_given_what(before: Credential, now: float, after: Credential, answer: Answer) -> None:
    """A living token, a renewal beside it, a renewal to wait for, or the reason why not and until when."""
    assert current(before, now) == (after, answer)


@pytest.mark.parametrize(
    ("before", "version", "now", "after", "answer"),
    [
        (LIVE, 0, 50, LIVE, Use(BEARER)),
        (LIVE, 1, 50, at(Renewing(1, 0, after_401=True), renewals=1), Join(1, starts=True)),
        (RENEWING, 1, 50, at(Renewing(7, after_401=True), RENEWING), Join(7)),
        (RENEWING, 0, 50, RENEWING, Use(BEARER)),
        (NONE, 1, 50, replace(NONE, phase=Renewing(1), renewals=1), Join(1, starts=True)),
        (WAITING, 1, 109, replace(WAITING, held_until=110.0, held_why=Why.UNREACHABLE), Barred(Why.UNREACHABLE, 110.0)),
        (WAITING, 1, 110, at(Renewing(1, 3, after_401=True), renewals=1), Join(1, starts=True)),
        (
            replace(LIVE, posts=FULL),
            1,
            59,
            replace(LIVE, posts=FULL, held_until=60.0, held_why=Why.TOO_OFTEN),
            Barred(Why.TOO_OFTEN, 60.0),
        ),
        (replace(LIVE, held_until=60.0), 1, 50, replace(LIVE, held_until=60.0), Barred(Why.REFUSED, 60.0)),
        (
            at(Waiting(60.0, 1, Why.UNCLEAR), DOUBTED),
            1,
            50,
            at(Waiting(60.0, 1, Why.UNCLEAR), DOUBTED, held_until=60.0, held_why=Why.UNCLEAR),
            Barred(Why.UNCLEAR, 60.0),
        ),
        (
            DOUBTED,
            1,
            50,
            at(Renewing(1, 0, after_401=True), DOUBTED, renewals=1),
            Join(1, starts=True),
        ),
        (
            at(Stopped(Why.NO_REFRESH, "f")),
            1,
            50,
            at(Stopped(Why.NO_REFRESH, "f"), held_until=80.0, held_why=Why.NO_REFRESH),
            Barred(Why.NO_REFRESH, 80.0),
        ),
        (at(Stopped(Why.REVOKED, "f"), NONE), 1, 50, at(Stopped(Why.REVOKED, "f"), NONE), Barred(Why.REVOKED)),
        (
            replace(LIVE, unsaved=True),
            1,
            50,
            replace(LIVE, unsaved=True, held_until=80.0, held_why=Why.UNSAVED),
            Barred(Why.UNSAVED, 80.0),
        ),
    ],
)
def test_what_a_401_does(before: Credential, version: int, now: float, after: Credential, answer: Answer) -> None:
    """An old version is answered with the present one; the present one is renewed, once, and not too often."""
    assert refused(before, version, now) == (after, answer)


def test_a_thousand_refusals_begin_one_renewal() -> None:
    """The first starts it, all others join it, and those who come late are given the new token (R-CRED-1, R-CRED-2)."""
    credential, first = refused(LIVE, 1, 50)
    assert first == Join(1, starts=True)
    for _ in range(999):
        credential, answer = refused(credential, 1, 50)
        assert answer == Join(1)
    credential = settle(credential, 1, Renewed(login("rt-2", "at-2"), "f2", "f1", NEXT), 51)
    for _ in range(1000):
        after, answer = refused(credential, 1, 52)
        assert after == credential
        assert answer == Use(Bearer(2, NEXT.token, NEXT.term))


OTHER = login("rt-2", "at-2", obtained_at=WALL + 9)
ADOPTED = Credential(OTHER, Bearer(2, NEXT.token, NEXT.term), Idle(), 2, renewals=7)
SPENT = {"renewed_at": 50.0, "spent": ("f1",), "posts": (50.0,)}


@pytest.mark.parametrize(
    ("before", "outcome", "after"),
    [
        (RENEWING, Adopted(OTHER, "f2", NEXT), ADOPTED),
        (replace(RENEWING, doubt="f1", unsaved=True), Adopted(OTHER, "f2", NEXT), ADOPTED),
        (replace(RENEWING, doubt="f2"), Adopted(OTHER, "f2", NEXT), replace(ADOPTED, doubt="f2")),
        (
            replace(RENEWING, doubt="f2"),
            Adopted(OTHER, "f2", Issue(BEARER.token, NEXT.term)),
            replace(ADOPTED, doubt="f2", version=1, bearer=Bearer(1, BEARER.token, NEXT.term)),
        ),
        (
            RENEWING,
            Adopted(OTHER, "f2", NEXT, posted=True, mint_off=True),
            replace(ADOPTED, posts=(50.0,), mint_off=True),
        ),
        (RENEWING, Renewed(OTHER, "f2", "f1", NEXT), replace(ADOPTED, **SPENT)),  # type: ignore[arg-type]
        (
            replace(RENEWING, doubt="f1", held_until=60.0),
            Renewed(OTHER, "f2", "f1", NEXT, saved=False),
            replace(ADOPTED, unsaved=True, **SPENT),  # type: ignore[arg-type]
        ),
        (RENEWING, Renewed(OTHER, "f1", "f1", NEXT), replace(ADOPTED, renewed_at=50.0, posts=(50.0,))),
        (
            RENEWING,
            Renewed(OTHER, "f2", "f1", None, mint_off=True),
            replace(
                ADOPTED,
                version=1,
                bearer=None,
                phase=Stopped(Why.NO_BEARER, "f2"),
                mint_off=True,
                **SPENT,  # type: ignore[arg-type]
            ),
        ),
        (
            RENEWING,
            Renewed(OTHER, "f2", "f1", None, Why.UNREACHABLE),
            replace(ADOPTED, version=1, bearer=None, phase=Waiting(51.0, 1, Why.UNREACHABLE), **SPENT),  # type: ignore[arg-type]
        ),
        (
            RENEWING,
            Unsure("f1"),
            at(Waiting(51.0, 1, Why.UNCLEAR), RENEWING, doubt="f1", posts=(50.0,)),
        ),
        (
            at(Renewing(7, 4), RENEWING),
            Unsure("f1", 40.0),
            at(Waiting(90.0, 5, Why.UNCLEAR), RENEWING, doubt="f1", posts=(50.0,)),
        ),
        (RENEWING, Failed(Why.UNWRITABLE), at(Waiting(51.0, 1, Why.UNWRITABLE), RENEWING)),
        (
            at(Renewing(7, 5), RENEWING),
            Failed(Why.UNREACHABLE, posted=True, retry_after=1.0, mint_off=True),
            at(Waiting(82.0, 6, Why.UNREACHABLE), RENEWING, posts=(50.0,), mint_off=True),
        ),
        (
            at(Renewing(7, 99), RENEWING),
            Failed(Why.UNREACHABLE, retry_after=9999.0),
            at(Waiting(110.0, 100, Why.UNREACHABLE), RENEWING),
        ),
        (at(Renewing(7, 4), RENEWING), Failed(Why.BUSY), at(Waiting(51.0, 4, Why.BUSY), RENEWING)),
        (RENEWING, Warned("f1"), at(Idle(), RENEWING, doubt="f1")),
        (RENEWING, Fresh(20.0), at(Idle(), RENEWING, held_until=70.0)),
        (RENEWING, Fresh(999.0), at(Idle(), RENEWING, held_until=80.0)),
        (
            RENEWING,
            Ended(Why.REVOKED, "f1", posted=True),
            at(Stopped(Why.REVOKED, "f1"), RENEWING, bearer=None, posts=(50.0,)),
        ),
        (
            replace(RENEWING, doubt="f1"),
            Ended(Why.LOST, "f1"),
            at(Stopped(Why.LOST, "f1"), RENEWING, bearer=None),
        ),
        (RENEWING, Ended(Why.MISCONFIGURED, "f1"), at(Stopped(Why.MISCONFIGURED, "f1"), RENEWING)),
        (
            RENEWING,
            Ended(Why.NO_BEARER, "f", mint_off=True),
            at(Stopped(Why.NO_KEYS, "f"), RENEWING, mint_off=True),
        ),
        (
            at(Renewing(7, after_401=True), RENEWING),
            Ended(Why.NO_BEARER, "f", mint_off=True),
            at(
                Stopped(Why.NO_BEARER, "f"),
                RENEWING,
                bearer=None,
                mint_off=True,
                held_until=80.0,
                held_why=Why.NO_BEARER,
            ),
        ),
    ],
)
def test_how_a_renewal_ends(before: Credential, outcome: Outcome, after: Credential) -> None:
    """Adopted, renewed, unsure, failed, too fresh or ended: each leads to one state."""
    assert settle(before, 7, outcome, 50.0) == after


@pytest.mark.parametrize("before", [LIVE, RENEWING, WAITING, NONE])
def test_an_outcome_that_is_not_awaited_changes_nothing(before: Credential) -> None:
    """Neither a late one nor one of another renewal."""
    assert settle(before, 6, Renewed(OTHER, "f2", "f1", NEXT), 50.0) == before


STOPPED = at(Stopped(Why.REVOKED, "f1"), LIVE, bearer=None)


@pytest.mark.parametrize(
    ("before", "fingerprint", "issue", "after"),
    [
        (LIVE, "f2", NEXT, replace(ADOPTED, renewals=0)),
        (LIVE, "f2", None, LIVE),
        (LIVE, "f1", Issue(BEARER.token, NEXT.term), LIVE),
        (RENEWING, "f2", NEXT, RENEWING),
        (replace(LIVE, spent=("f2",)), "f2", NEXT, replace(LIVE, spent=("f2",))),
        (
            replace(LIVE, login=replace(OTHER, refresh=None)),
            "f2",
            NEXT,
            replace(LIVE, login=replace(OTHER, refresh=None)),
        ),
        (
            replace(LIVE, login=replace(OTHER, refresh=None), doubt="f1", held_until=60.0),
            "f2",
            NEXT,
            replace(ADOPTED, renewals=0),
        ),
        (replace(LIVE, login=OTHER), "f2", NEXT, replace(LIVE, login=OTHER)),
        (STOPPED, "f1", NEXT, STOPPED),
        (STOPPED, "f2", NEXT, replace(ADOPTED, renewals=0)),
        (STOPPED, "f2", None, replace(STOPPED, phase=Idle(), login=None)),
        (WAITING, "f2", NEXT, replace(ADOPTED, renewals=0)),
    ],
)
def test_a_glance_at_the_store(before: Credential, fingerprint: str, issue: Issue | None, after: Credential) -> None:
    """Another login brings a stopped credential back; a newer one is adopted; an older or spent one is not."""
    assert stored(before, OTHER, fingerprint, issue, 50.0) == after


def test_an_empty_store_brings_nothing_back() -> None:
    """Where nobody is logged in, nothing changes at a glance."""
    assert stored(STOPPED, None, None, None, 50.0) == STOPPED
    assert stored(LIVE, OTHER, None, None, 50.0) == LIVE


def test_reloading_forgets_what_bars() -> None:
    """What was stopped, waited for or held may be tried; what is spent stays so, and a renewal goes on."""
    before = replace(STOPPED, held_until=99.0, spent=("x",))
    assert reload(before) == replace(before, phase=Idle(), held_until=-math.inf)
    assert reload(RENEWING) == RENEWING


def test_a_pair_that_is_saved_at_last_may_be_renewed() -> None:
    """Only what is not on disk keeps others from being asked for."""
    assert saved(replace(LIVE, unsaved=True)) == LIVE
    held = replace(LIVE, unsaved=True, held_until=80.0, held_why=Why.UNSAVED)
    assert saved(held) == replace(LIVE, held_why=Why.UNSAVED)


def test_a_journal_found_at_the_start_is_a_doubt() -> None:
    """Unless its refresh token is known to be spent; and what is remembered is bounded."""
    assert after_restart(None, doubt="f").doubt == "f"
    assert after_restart(OTHER, doubt="f", spent=("f",)) == Credential(OTHER, spent=("f",))
    many = tuple(map(str, range(2000)))
    assert after_restart(None, spent=many).spent == many[-REMEMBERED:]


def test_when_the_next_post_is_allowed() -> None:
    """Five a minute, and a refused token rests for 30 s after its renewal."""
    assert may_post_at(replace(LIVE, posts=FULL), 59.0) == 60.0
    assert may_post_at(replace(LIVE, posts=FULL), 61.5) == 61.5
    assert rests_for(replace(LIVE, renewed_at=10.0), 15.0) == 25.0
    assert rests_for(LIVE, 15.0) == 0.0
    assert not is_living(NONE, 0)


SCENE = Scene(now=1000.0, wall_clock=WALL + 600, key=KEY)
ONE, TWO = login("rt-1"), login("rt-2", obtained_at=WALL + 1)
MINE = Bearer(1, Secret(jwt(name="rt-1")))
OPEN = Credential(ONE, MINE, Renewing(1), 1)
AFTER_401 = replace(OPEN, phase=Renewing(1, 0, after_401=True))
BARE = Credential(phase=Renewing(1))
OVER = login("rt-1", jwt(name="old", exp=WALL + 60))
LEGACY = jwt(name="l", scope="inference:mint_agent_key")
KEYED = Credential(login("rt-1", LEGACY, key="k"), Bearer(1, Secret("k")), Renewing(1, 0, after_401=True), 1)


def adopts(one: Login, *, heals: bool = False) -> Adopt:
    issue = issue_of(one, SCENE)
    assert issue is not None
    return Adopt(Adopted(one, one.fingerprint(KEY), issue), heals)


@pytest.mark.parametrize(
    ("credential", "found", "step"),
    [
        (OPEN, [held(ONE)], Post(ONE, mark("rt-1"))),
        (OPEN, [held(ONE), held(TWO)], adopts(TWO)),
        (OPEN, [held(TWO), held(ONE)], adopts(TWO)),
        (BARE, [held(ONE), Absent()], adopts(ONE)),
        (BARE, [held(OVER)], Post(OVER, mark("rt-1"))),
        (BARE, [held(login("rt-1", None))], Post(login("rt-1", None), mark("rt-1"))),
        (BARE, [Absent(), Absent()], Leave(Ended(Why.LOGGED_OUT, None))),
        (BARE, [Guest()], Leave(Ended(Why.GUEST, None))),
        (BARE, [Guest(), held(ONE)], Leave(Ended(Why.GUEST, None))),
        (BARE, [Absent(), Guest()], Leave(Ended(Why.GUEST, None))),
        (BARE, [held(ONE), Guest()], adopts(ONE)),
        (BARE, [held(ONE), Corrupt("x")], Leave(Failed(Why.UNREADABLE))),
        (BARE, [Unreadable("x"), held(ONE)], Leave(Failed(Why.UNREADABLE))),
        (replace(OPEN, spent=(mark("rt-2"),)), [held(ONE), held(TWO)], Post(ONE, mark("rt-1"))),
        (replace(BARE, spent=(mark("rt-2"),)), [held(ONE), held(TWO)], adopts(ONE, heals=True)),
        (replace(BARE, spent=(mark("rt-2"),), login=ONE), [held(TWO)], adopts(ONE, heals=True)),
        (replace(BARE, spent=(mark("rt-1"),), login=ONE), [held(ONE)], Leave(Ended(Why.SPENT, mark("rt-1")))),
        (replace(BARE, spent=(mark("rt-1"),)), [held(ONE)], Leave(Ended(Why.SPENT, mark("rt-1")))),
        (OPEN, [held(login(None, jwt(name="rt-1")))], Leave(Ended(Why.NO_REFRESH, MINE.token.fingerprint(KEY)))),
        (AFTER_401, [held(ONE)], Post(ONE, mark("rt-1"))),
        (AFTER_401, [held(TWO)], adopts(TWO)),
        (replace(AFTER_401, renewed_at=995.0), [held(ONE)], Leave(Fresh(25.0))),
        (AFTER_401, [held(replace(ONE, obtained_at=WALL + 590))], Leave(Fresh(20.0))),
        (
            AFTER_401,
            [held(replace(ONE, obtained_at=WALL + 9999))],
            Post(replace(ONE, obtained_at=WALL + 9999), mark("rt-1")),
        ),
        (AFTER_401, [held(replace(ONE, obtained_at=None))], Post(replace(ONE, obtained_at=None), mark("rt-1"))),
        (replace(AFTER_401, renewed_at=995.0), [held(OVER)], Post(OVER, mark("rt-1"))),
        (replace(OPEN, renewed_at=995.0), [held(ONE)], Post(ONE, mark("rt-1"))),
        (replace(OPEN, posts=FULL), [held(ONE)], Post(ONE, mark("rt-1"))),
        (BARE, [held(login("rt-1", LEGACY))], Mint(login("rt-1", LEGACY), mark("rt-1"))),
        (BARE, [held(login("rt-1", LEGACY, key="k"))], adopts(login("rt-1", LEGACY, key="k"))),
        (replace(KEYED, renewed_at=995.0), [held(login("rt-1", LEGACY, key="k"))], Leave(Fresh(25.0))),
        (KEYED, [held(login("rt-1", LEGACY, key="k"))], Mint(login("rt-1", LEGACY, key="k"), mark("rt-1"))),
        (replace(BARE, mint_off=True), [held(login("rt-1", LEGACY))], Post(login("rt-1", LEGACY), mark("rt-1"))),
    ],
)
def test_what_a_renewal_does(credential: Credential, found: list[Found], step: Step) -> None:
    """Adopt what lives, mint only what cannot be sent, never post what is spent, and post the newest."""
    assert plan(credential, found, SCENE) == step


JOURNAL = replace(SCENE, journal=mark("rt-1"))
LONG = Bearer(1, MINE.token, Term(900.0, 1001.0, 1100.0))


@pytest.mark.parametrize(
    ("credential", "step"),
    [
        (replace(OPEN, bearer=LONG), Leave(Warned(mark("rt-1")))),
        (replace(AFTER_401, bearer=LONG), Post(ONE, mark("rt-1"))),
        (replace(OPEN, bearer=replace(LONG, term=TERM)), Post(ONE, mark("rt-1"))),
        (replace(OPEN, bearer=replace(LONG, term=Term(900.0, 1000.0, 1100.0))), Post(ONE, mark("rt-1"))),
    ],
)
def test_another_process_doubt_is_ours(credential: Credential, step: Step) -> None:
    """What a peer has posted in vain is not posted while the token in use can still say what became of it."""
    assert plan(credential, [held(ONE)], JOURNAL) == step


def test_a_journal_of_another_token_warns_of_nothing() -> None:
    """A peer has renewed since; and without a token in use nothing is left to lose."""
    found = [held(replace(TWO, access=MINE.token))]
    assert isinstance(plan(replace(OPEN, bearer=LONG), found, JOURNAL), Post)
    assert plan(BARE, [held(OVER)], JOURNAL) == Post(OVER, mark("rt-1"))


@pytest.mark.parametrize(
    ("ago", "wait"),
    [((1, 2, 3, 59, 58), 1.0), ((60, 1, 2, 3, 4), None), ((1, 2, 3, 4, -5), None), ((9, 8, 7, 50, 40, 30), 20.0)],
)
def test_all_processes_together_post_five_times_a_minute(ago: tuple[float, ...], wait: float | None) -> None:
    """What others have posted counts as well, unless their clock is ahead of ours (R-CRED-9)."""
    scene = replace(SCENE, posts=tuple(SCENE.wall_clock - seconds for seconds in ago))
    expected = Post(ONE, mark("rt-1")) if wait is None else Leave(Failed(Why.TOO_OFTEN, retry_after=wait))
    assert plan(OPEN, [held(ONE)], scene) == expected


@pytest.mark.parametrize(
    ("found", "step"),
    [
        ([held(ONE)], Leave(Ended(Why.REVOKED, mark("rt-1"), posted=True))),
        ([Absent()], Leave(Ended(Why.REVOKED, mark("rt-1"), posted=True))),
        ([held(ONE), held(TWO)], Adopt(replace(adopts(TWO).outcome, posted=True), heals=True)),
        ([held(replace(TWO, access=None))], Leave(Failed(Why.UNREACHABLE, posted=True))),
        ([Corrupt("x")], Leave(Failed(Why.UNREADABLE, posted=True))),
    ],
)
def test_a_terminal_answer_is_held_against_the_store_first(found: list[Found], step: Step) -> None:
    """Another login there is adopted, or renewed next time; otherwise this one is over (R-CRED-9)."""
    assert after_terminal(OPEN, found, mark("rt-1"), SCENE) == step


@pytest.mark.parametrize(
    ("meaning", "posted", "outcome"),
    [
        (Misconfigured("invalid_scope"), True, Ended(Why.MISCONFIGURED, "f", posted=True)),
        (Unclear(5), True, Unsure("f", 5)),
        (Transient(5), True, Failed(Why.UNREACHABLE, posted=True, retry_after=5)),
        (Transient(), False, Failed(Why.UNREACHABLE)),
    ],
)
def test_how_other_answers_end_a_renewal(
    meaning: Misconfigured | Unclear | Transient, posted: bool, outcome: Outcome
) -> None:
    """The meaning of an answer is one outcome."""
    assert outcome_of(meaning, "f", posted=posted) == outcome


@pytest.mark.parametrize(
    ("meaning", "outcome"),
    [
        (MintOff(), Ended(Why.NO_BEARER, "f", posted=True, mint_off=True)),
        (MintRefused(), Ended(Why.NO_BEARER, "f", posted=True)),
        (MintUnpaid("x"), Failed(Why.UNPAID, posted=True, retry_after=60.0)),
        (Transient(9), Failed(Why.UNREACHABLE, posted=True, retry_after=9)),
    ],
)
def test_how_a_mint_fails(meaning: MintOff | MintRefused | MintUnpaid | Transient, outcome: Outcome) -> None:
    """Off for good, of no use, unpaid, or later."""
    assert mint_failed(meaning, "f") == outcome


@pytest.mark.parametrize(
    ("access", "stored_end", "mint_off", "may"),
    [
        (LEGACY, None, False, True),
        (LEGACY, None, True, False),
        (jwt(), None, False, False),
        (jwt(scope="other"), None, False, False),
        (jwt(scope="inference:mint_agent_key", exp=WALL + 601), None, False, False),
        (jwt(scope="inference:mint_agent_key", exp=None), None, False, True),
        (jwt(scope="inference:mint_agent_key", exp=None), WALL + 601, False, False),
        ("opaque", None, False, False),
        (None, None, False, False),
    ],
)
def test_when_a_key_is_minted(access: str | None, stored_end: float | None, mint_off: bool, may: bool) -> None:
    """Only with a living token that may mint and cannot be sent itself, while there is a mint."""
    assert mints(Credential(mint_off=mint_off), replace(login("r", access), expires_at=stored_end), SCENE) is may


def test_an_opaque_token_mints_by_its_stored_scope() -> None:
    """What the store says of a token counts where the token says nothing."""
    one = replace(login("r", "opaque"), scopes=frozenset({"inference:mint_agent_key"}))
    assert mints(Credential(), one, SCENE)


def test_a_grant_becomes_a_login_and_what_can_be_sent() -> None:
    """It lives by its own clock; one that cannot be sent gives the key that was minted before, or nothing."""
    access = Secret(jwt())
    fresh, issue = received(ONE, Granted(access, Secret("rt-2")), SCENE, inference="https://i")
    assert (fresh.refresh, fresh.inference, fresh.expires_at) == (Secret("rt-2"), "https://i", WALL + 600 + 3600)
    assert issue == Issue(access, Term(4240.0, 4570.0, 4600.0))
    assert received(ONE, Granted(Secret("opaque")), SCENE)[1] is None
    kept = received(login("r", key="k"), Granted(Secret("opaque")), SCENE)[1]
    assert kept is not None
    assert kept.token == Secret("k")


@pytest.mark.parametrize(
    ("meaning", "ends_at"),
    [
        (Minted(Secret("k"), 7200), 8200.0),
        (Minted(Secret("k"), None, WALL + 1200), 1600.0),
        (Minted(Secret("k"), None, WALL), math.inf),
        (Minted(Secret("k")), math.inf),
    ],
)
def test_a_minted_key_is_kept_with_its_end(meaning: Minted, ends_at: float) -> None:
    """It is stored with the login, and used to its end."""
    one, issue = minted(ONE, meaning, SCENE)
    assert one.key == issue.token == Secret("k")
    assert issue.term.ends_at == ends_at


@pytest.mark.parametrize(
    ("one", "ends_at"),
    [
        (ONE, 4000.0),
        (OVER, None),
        (replace(login("r", jwt(exp=None)), expires_at=WALL + 1600), 2000.0),
        (login("r", "opaque"), None),
        (login("r", None, key="k"), 7600.0),
        (login("r", "opaque", key="k"), 7600.0),
        (replace(login("r", "opaque", key="k"), key_expires_at=WALL + 700), None),
        (replace(login("r", "opaque", key="k"), key_expires_at=None), math.inf),
    ],
)
def test_what_of_a_stored_login_can_be_sent(one: Login, ends_at: float | None) -> None:
    """Its access token while that lives by the wall clock; a minted key only if the token is of no use."""
    issue = issue_of(one, SCENE)
    assert (issue.term.ends_at if issue is not None else None) == ends_at


def test_no_state_shows_a_secret() -> None:
    """Whatever is printed of a credential, a step or a scene, no token and no key is in it."""
    secret = Secret("canary-1")
    one = login("canary-2", "canary-3", key="canary-4")
    shown = repr(
        [
            Credential(one, Bearer(1, secret)),
            Post(one, mark("canary-2")),
            Mint(one, "f"),
            Adopt(Adopted(one, "f", Issue(secret, TERM))),
            Scene(0, 0, 1, b"canary-5"),
            Renewed(one, "f", "g", Issue(secret, TERM)),
            Minted(secret),
        ]
    )
    assert "canary" not in shown
    assert Why.REVOKED in DEAD


@pytest.mark.parametrize(
    ("credential", "now", "until"),
    [
        (LIVE, 50, 100.0),
        (DOUBTED, 50, 130.0),
        (RENEWING, 50, 130.0),
        (WAITING, 50, 100.0),
        (at(Stopped(Why.NO_REFRESH, "f")), 50, 160.0),
        (LIVE, 160, -math.inf),
        (NONE, 0, -math.inf),
        (replace(LIVE, held_until=60.0), 50, -math.inf),
    ],
)
def test_until_when_nobody_need_look(credential: Credential, now: float, until: float) -> None:
    """A living token serves until its renewal is due, or waited for, or until its end where nothing is renewed."""
    assert serves_until(credential, now) == until
