"""Who serves an agent: told once for each change, and never for an answer that comes late."""

from __future__ import annotations

import pytest

from understudy.supervisor import HandedOver, Returned
from understudy.supervisor._serving import Serving

OVER = HandedOver("deriver", "lead", "second", "down")
ON = HandedOver("deriver", "lead", "third", "down")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([(0, 0, 1)], []),
        ([(1, 0, 1), (1, 2, 3)], [OVER]),
        ([(1, 0, 1), (2, 2, 3), (0, 4, 9)], [OVER, ON, Returned("deriver", "lead", 6)]),
        ([(1, 1, 2), (0, 0, 3)], [OVER]),  # the primary's straggler is no return
        ([(1, 0, 1), (0, 2, 4), (1, 3, 5)], [OVER, Returned("deriver", "lead", 3)]),  # nor the fallback's a hand-over
        ([(1, 0, 1), (0, 2, 4), (1, 4.5, 5)], [OVER, Returned("deriver", "lead", 3), OVER]),
    ],
)
def test_a_change_is_told_once(answers: list[tuple[int, float, float]], told: list[object]) -> None:
    """Answers are (route, begun, ended)."""
    serving = Serving("deriver", ("lead", "second", "third"))
    changes = [serving.answered(route, begun, ended, lambda: "down") for route, begun, ended in answers]
    assert [change for change in changes if change is not None] == told
