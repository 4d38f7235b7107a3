"""The credential in the hands of chance: several processes, one store, and a Portal that rotates and revokes.

The Portal here is a few lines: a refresh token is used once, its second use ends the login, and each renewal ends the
access token before it. Whatever the processes do, and whatever of its answers is lost, some things stay true.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.credentials._credential import after_restart, current, refused, serves_until, settle, stored
from understudy.credentials._credential_values import (
    Answer,
    Barred,
    Bearer,
    Credential,
    Failed,
    Issue,
    Join,
    Renewed,
    Renewing,
    Stopped,
    Unsure,
    Use,
    Why,
)
from understudy.credentials._login import Login
from understudy.credentials._portal_answers import (
    Meaning,
    Misconfigured,
    PortalAnswer,
    Terminal,
    Transient,
    Unclear,
    lost_meaning,
    refresh_meaning,
)
from understudy.credentials._renewal import (
    Adopt,
    Leave,
    Post,
    Scene,
    after_terminal,
    issue_of,
    outcome_of,
    plan,
    received,
)
from understudy.credentials._secret import Secret
from understudy.credentials._stores import Absent, Found

from .logins import KEY, WALL, held, jwt

WELL, DOWN, HTML, BUSY, ERROR, LOST, CRASH = "well", "down", "html", "busy", "error", "lost", "crash"
WEATHERS = (WELL, DOWN, HTML, BUSY, ERROR, LOST, CRASH)


@dataclass
class Portal:
    """The other side: what is valid, and what has been posted when."""

    lifetime: float
    number: int = 0
    refresh: str = ""
    access: str = ""
    is_revoked: bool = False
    used: set[str] = field(default_factory=set)
    posted: list[tuple[float, str]] = field(default_factory=list)
    reuses: int = 0

    def log_in(self, wall: float) -> Login:
        """Begin a new login."""
        self.is_revoked = False
        self._issue(wall)
        return Login(Secret(self.access), Secret(self.refresh), obtained_at=wall, expires_at=wall + self.lifetime)

    def renew(self, refresh: str, now: float, wall: float, weather: str) -> Meaning:
        """Answer a POST, as the weather has it."""
        if weather == DOWN:
            return lost_meaning(was_sent=False)
        self.posted.append((now, refresh))
        if weather == HTML:
            return refresh_meaning(PortalAnswer(429, b"<html>"))
        if weather == ERROR:
            return refresh_meaning(PortalAnswer(503, b"", 5))
        if self.is_revoked or refresh != self.refresh:
            self.reuses += refresh in self.used and not self.is_revoked
            self.is_revoked = True
            return refresh_meaning(PortalAnswer(400, b'{"error": "invalid_grant"}'))
        self.used.add(refresh)
        self._issue(wall)
        if weather == LOST:
            return lost_meaning(was_sent=True)
        body = f'{{"access_token": "{self.access}", "refresh_token": "{self.refresh}", "expires_in": {self.lifetime}}}'
        return refresh_meaning(PortalAnswer(200, body.encode()))

    def takes(self, token: Secret, wall: float) -> bool:
        """Say whether inference is granted to a token now."""
        return token.reveal() == self.access and wall < self.ends_at and not self.is_revoked

    def _issue(self, wall: float) -> None:
        self.number += 1
        self.ends_at = wall + self.lifetime
        self.refresh = f"canary-rt-{self.number}"
        self.access = jwt(name=f"at-{self.number}", iat=wall, exp=self.ends_at)


class World:
    """Processes around one store; all time is ours, and our wall clock may be wrong."""

    def __init__(self, processes: int, lifetime: float, wrong_by: float) -> None:
        self.portal, self.now, self.wrong_by = Portal(lifetime), 0.0, wrong_by
        self.store: Login | None = self.portal.log_in(self.true)
        self.journal: str | None = None
        self.ours = [after_restart(None) for _ in range(processes)]
        self.seen_spent: list[set[str]] = [set() for _ in range(processes)]

    @property
    def true(self) -> float:
        """Unix time as the Portal has it."""
        return WALL + self.now

    def scene(self) -> Scene:
        posts = tuple(WALL + at + self.wrong_by for at, _ in self.portal.posted)
        return Scene(self.now, self.true + self.wrong_by, key=KEY, posts=posts, journal=self.journal)

    def found(self) -> list[Found]:
        return [Absent() if self.store is None else held(self.store)]

    def call(self, index: int) -> Answer:
        """Ask for a token, and call with it; a 401 names the version, and is answered once."""
        answer = self.take(index, current(self.ours[index], self.now))
        if isinstance(answer, Use) and not self.portal.takes(answer.bearer.token, self.true):
            return self.take(index, refused(self.ours[index], answer.bearer.version, self.now))
        return answer

    def take(self, index: int, taken: tuple[Credential, Answer]) -> Answer:
        before, (after, answer) = self.ours[index], taken
        starts = answer.starts if isinstance(answer, Use) else isinstance(answer, Join) and answer.starts
        assert not (starts and isinstance(before.phase, Renewing)), "two renewals at once"
        assert bool(starts) is (after.renewals > before.renewals)
        if isinstance(before.phase, Stopped):
            assert not starts
            assert before.bearer is not None or isinstance(answer, Barred)
        if isinstance(answer, Use):
            assert self.now < answer.bearer.term.ends_at
        self.ours[index] = after
        return answer

    def renew(self, index: int, weather: str) -> None:
        """Run the renewal that is under way, if one is, as a shell would: all of it under the lock."""
        credential = self.ours[index]
        if not isinstance(credential.phase, Renewing):
            return
        number, scene = credential.phase.number, self.scene()
        if weather == BUSY:
            self.ours[index] = settle(credential, number, Failed(Why.BUSY), self.now)
            return
        step = plan(credential, self.found(), scene)
        match step:
            case Leave(outcome):
                self.ours[index] = settle(credential, number, outcome, self.now)
            case Adopt(outcome, heals):
                self.store = outcome.login if heals else self.store
                self.ours[index] = settle(credential, number, outcome, self.now)
            case Post(login, fingerprint):
                self.ours[index] = self.post(index, login, fingerprint, number, weather)
            case _:
                pytest.fail("nothing here mints")

    def post(self, index: int, login: Login, fingerprint: str, number: int, weather: str) -> Credential:
        credential, scene = self.ours[index], self.scene()
        assert login.refresh is not None
        token = login.refresh.reveal()
        assert token not in self.seen_spent[index], "a spent refresh token is posted"
        assert not isinstance(credential.phase, Stopped)
        was_doubted, self.journal = self.journal == fingerprint, fingerprint
        meaning = self.portal.renew(token, self.now, self.true, WELL if weather == CRASH else weather)
        match meaning:
            case Unclear() | Transient() | Misconfigured():
                posted = weather != DOWN
                if not was_doubted and not isinstance(meaning, Unclear):
                    self.journal = None
                return settle(credential, number, outcome_of(meaning, fingerprint, posted=posted), self.now)
            case Terminal():
                step = after_terminal(credential, self.found(), fingerprint, scene)
                ended = settle(credential, number, step.outcome, self.now)
            case _ if weather == CRASH:
                return settle(credential, number, Unsure(fingerprint), self.now)
            case granted:
                fresh, issue = received(login, granted, scene)
                self.store = fresh
                self.seen_spent[index].add(token)
                done = Renewed(fresh, fresh.fingerprint(KEY), fingerprint, issue)
                ended = settle(credential, number, done, self.now)
        self.journal = None
        return ended

    def glance(self, index: int) -> None:
        """Look at the store without the lock."""
        one = self.store
        if one is not None:
            issue = issue_of(one, self.scene())
            self.ours[index] = stored(self.ours[index], one, one.fingerprint(KEY), issue, self.now)

    def restart(self, index: int) -> None:
        """Begin a process anew, from what is on disk."""
        spent = self.ours[index].spent
        self.ours[index] = after_restart(None, spent=spent, doubt=self.journal)

    def check(self) -> None:
        """What is true at any time."""
        for credential in self.ours:
            assert "canary" not in repr(credential)
            assert all(token not in repr(credential) for token in (self.portal.access, self.portal.refresh))
        assert len([at for at, _ in self.portal.posted if self.now - at < 60]) <= 5, "too many POSTs in a minute"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("renew"), st.integers(0, 2), st.sampled_from(WEATHERS)),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 5, 29, 31, 61, 500, 1900, 3600]), st.just("")),
        st.tuples(st.just("glance"), st.integers(0, 2), st.just("")),
        st.tuples(st.just("restart"), st.integers(0, 2), st.just("")),
    ),
    max_size=60,
)
LIFETIMES, WRONG = st.sampled_from([60.0, 900.0, 3600.0]), st.sampled_from([0.0, -3600.0, 3600.0])


def run(world: World, steps: list[tuple[str, int, str]], *, lossy: bool) -> None:
    for what, value, weather in steps:
        index = value % len(world.ours)
        if what == "wait":
            world.now += value
        elif what == "call":
            world.call(index)
        elif what == "renew":
            world.renew(index, weather if lossy or weather not in {LOST, CRASH} else WELL)
        elif what == "glance":
            world.glance(index)
        else:
            world.restart(index)
        world.check()


def answered(world: World, index: int) -> bool:
    """Ask as a caller does while the Portal is well; say whether a call is granted."""
    for _ in range(4):
        answer = world.call(index)
        if isinstance(answer, Join):
            world.renew(index, WELL)
        elif isinstance(answer, Use):
            if answer.starts is not None:
                world.renew(index, WELL)
            elif world.portal.takes(answer.bearer.token, world.true):
                return True
        else:
            return False
    return False


@settings(deadline=None, max_examples=300)
@given(STEPS, LIFETIMES, WRONG, st.integers(1, 3))
def test_without_a_lost_answer_no_login_is_ever_lost(
    steps: list[tuple[str, int, str]], lifetime: float, wrong_by: float, processes: int
) -> None:
    """No refresh token is used twice; and once the Portal is well, everybody has a living token within 150 s."""
    world = World(processes, lifetime, wrong_by)
    run(world, steps, lossy=False)
    assert world.portal.reuses == 0
    assert not world.portal.is_revoked
    for index in range(processes):
        for _ in range(30):
            if answered(world, index):
                break
            world.now += 5
        else:
            pytest.fail(f"stuck: {world.ours[index]}")
    assert world.portal.reuses == 0


@settings(deadline=None, max_examples=300)
@given(STEPS, LIFETIMES, WRONG, st.integers(1, 3))
def test_whatever_is_lost_the_end_is_told_and_a_new_login_mends_it(
    steps: list[tuple[str, int, str]], lifetime: float, wrong_by: float, processes: int
) -> None:
    """A lost answer may cost the login; then nothing is posted and nothing called, until a new one is seen."""
    world = World(processes, lifetime, wrong_by)
    run(world, steps, lossy=True)
    for index in range(processes):
        for _ in range(60):
            if answered(world, index) or isinstance(world.ours[index].phase, Stopped):
                break
            world.now += lifetime / 10
        else:
            pytest.fail(f"neither alive nor dead: {world.ours[index]}")
    dead = [index for index in range(processes) if isinstance(world.ours[index].phase, Stopped)]
    posts = len(world.portal.posted)
    for index in dead:
        for _ in range(100):
            world.now += 3
            world.glance(index)
            if isinstance(world.ours[index].phase, Stopped):
                assert isinstance(world.call(index), Barred)
    if len(dead) == processes:
        assert len(world.portal.posted) == posts
        world.now += 100
        world.store = world.portal.log_in(world.true)
        for index in dead:
            world.glance(index)
            assert answered(world, index)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from([60.0, 900.0, 3600.0]), st.lists(st.sampled_from([DOWN, HTML, BUSY, ERROR]), max_size=40))
def test_an_outage_never_costs_the_login(lifetime: float, weathers: list[str]) -> None:
    """However long the Portal is away: it is asked seldom, and the first good answer brings the token back."""
    world = World(1, lifetime, 0.0)
    assert answered(world, 0)
    world.now += lifetime
    for weather in weathers:
        world.call(0)
        world.renew(0, weather)
        world.now += 20
        world.check()
    world.now += 60
    assert answered(world, 0)
    gaps = [later - at for (at, _), (later, _) in zip(world.portal.posted, world.portal.posted[1:], strict=False)]
    assert all(gap >= 1 for gap in gaps)


def test_a_lost_answer_waits_with_the_old_token_as_its_oracle() -> None:
    """Unclear but alive: served on, and posted again near its end only. Refused: posted again at once, then dead."""
    world = World(1, 3600.0, 0.0)
    assert answered(world, 0)
    world.now = 3300
    world.call(0)
    world.renew(0, ERROR)  # nothing was rotated: the old token lives
    for _ in range(50):
        world.now += 5
        answer = world.call(0)
        assert isinstance(answer, Use)
        assert answer.starts is None
    assert len(world.portal.posted) == 1
    world.now = 3571
    assert answered(world, 0)
    assert len(world.portal.posted) == 2

    world.now = 3571 + 3300
    world.call(0)
    world.renew(0, LOST)  # rotated, and the old token with it
    assert isinstance(world.call(0), Barred)
    world.now += 2
    assert isinstance(world.call(0), Join)
    world.renew(0, WELL)
    phase = world.ours[0].phase
    assert isinstance(phase, Stopped)
    assert phase.why is Why.LOST
    posts = len(world.portal.posted)
    for _ in range(1000):
        world.now += 1
        world.glance(0)
        assert world.call(0) == Barred(Why.LOST)
    assert len(world.portal.posted) == posts


def test_one_bad_model_cannot_have_the_token_renewed_again_and_again() -> None:
    """A 401 that every token gets costs one renewal in 30 s at most, over all processes (R-CRED-11)."""
    world = World(3, 3600.0, 0.0)
    for second in range(600):
        world.now = float(second)
        for index in range(3):
            answer = world.take(index, current(world.ours[index], world.now))
            if isinstance(answer, Use):
                answer = world.take(index, refused(world.ours[index], answer.bearer.version, world.now))
            world.renew(index, WELL)
    times = [at for at, _ in world.portal.posted]
    assert all(later - at >= 30 for at, later in itertools.pairwise(times))
    assert world.portal.reuses == 0


@given(st.integers(0, 5), st.floats(0, 200), STEPS)
def test_an_old_version_never_moves_anything(version: int, now: float, steps: list[tuple[str, int, str]]) -> None:
    """A late 401 for a token that has been replaced is answered with what there is, as any call would be."""
    world = World(1, 900.0, 0.0)
    run(world, steps, lossy=False)
    credential = world.ours[0]
    world.now += now
    if credential.bearer is None or credential.bearer.version != version:
        assert refused(credential, version, world.now) == current(credential, world.now)


@given(STEPS, LIFETIMES, st.integers(1, 3), st.floats(0, 4000))
def test_what_serves_serves_until_it_is_due(
    steps: list[tuple[str, int, str]], lifetime: float, processes: int, later: float
) -> None:
    """Before that instant every call is given the same token, without anything else to do."""
    world = World(processes, lifetime, 0.0)
    run(world, steps, lossy=True)
    for credential in world.ours:
        until = serves_until(credential, world.now)
        for now in (world.now, world.now + later):
            if now < until:
                assert credential.bearer is not None
                assert current(credential, now) == (credential, Use(credential.bearer))
        after, answer = current(credential, world.now)
        if after == credential and isinstance(answer, Use):
            assert world.now < until


def test_versions_only_rise() -> None:
    """Each pair that is adopted or renewed has a version of its own."""
    world, versions = World(2, 60.0, 0.0), []
    for _ in range(50):
        world.now += 20
        for index in range(2):
            answered(world, index)
        versions.append(world.ours[0].version)
    assert versions == sorted(versions)
    assert versions[-1] > 10


def test_a_token_is_compared_as_a_whole() -> None:
    """Two tokens with the same long beginning are two: the other one is adopted."""
    long = "x" * 500
    one = Credential(bearer=Bearer(1, Secret(long + "1")), version=1, login=Login(obtained_at=1.0))
    issue = Issue(Secret(long + "2"), Bearer(0, Secret("")).term)
    after = stored(one, Login(obtained_at=2.0), "f", issue, 0.0)
    assert after.version == 2
    assert replace(after, login=None).bearer == Bearer(2, issue.token, issue.term)
