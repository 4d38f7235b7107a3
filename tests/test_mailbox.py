"""Mailboxes and replies: every accepted message is answered exactly once."""

from __future__ import annotations

import anyio
import pytest

from understudy.actors import Mailbox, Reply
from understudy.providers import ActorStoppedError, MailboxFullError

pytestmark = pytest.mark.anyio


async def test_messages_arrive_in_order_with_their_replies() -> None:
    """The reader gets what was posted, in order; the sender gets the answer."""
    mailbox: Mailbox[str] = Mailbox("an actor")
    first, second = mailbox.post("a"), mailbox.post("b")
    for answer in (1, 2):
        message, reply = await mailbox.receive()
        assert message == "ab"[answer - 1]
        reply.put(answer)
        mailbox.answered(reply)
    assert [await first.wait(), await second.wait()] == [1, 2]


async def test_a_reader_waits_for_the_next_message() -> None:
    """Receiving waits until something is posted."""
    mailbox: Mailbox[str] = Mailbox("an actor")
    got: list[str] = []

    async def read() -> None:
        got.append((await mailbox.receive())[0])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        assert got == []
        mailbox.post("late")
    assert got == ["late"]


async def test_a_full_mailbox_says_so_at_once() -> None:
    """Posting never waits; beyond the capacity it is an error, and nothing is lost."""
    mailbox: Mailbox[int] = Mailbox("an actor", capacity=2)
    mailbox.post(1)
    mailbox.post(2)
    with pytest.raises(MailboxFullError, match=r"an actor is full \(2 messages\)"):
        mailbox.post(3)
    assert (await mailbox.receive())[0] == 1


async def test_whoever_waits_is_answered_when_the_actor_ends() -> None:
    """Closing fails what is waiting and what was taken but not answered; posting to a closed mailbox is an error."""
    mailbox: Mailbox[str] = Mailbox("an actor")
    taken, waiting = mailbox.post("taken"), mailbox.post("waiting")
    await mailbox.receive()
    mailbox.close()
    mailbox.close()
    for reply in (taken, waiting):
        with pytest.raises(ActorStoppedError, match="an actor has stopped"):
            await reply.wait()
    with pytest.raises(ActorStoppedError):
        mailbox.post("late")


async def test_the_first_answer_stands() -> None:
    """Putting a second answer neither raises nor changes anything, and several may wait for one reply."""
    reply: Reply[str] = Reply()
    got: list[str] = []

    async def wait() -> None:
        got.append(await reply.wait())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        reply.put("first")
        reply.put("second")
        reply.fail(ValueError("third"))
    assert got == ["first", "first"]


async def test_a_cancelled_asker_hurts_nobody() -> None:
    """An answer to somebody who has left is put without an error."""
    mailbox: Mailbox[str] = Mailbox("an actor")
    with anyio.move_on_after(1):
        await mailbox.post("hello").wait()
    _, reply = await mailbox.receive()
    reply.put("too late")
    assert await reply.wait() == "too late"
