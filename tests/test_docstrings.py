"""Docstrings: what is told to a model of a function and of its arguments."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.supervisor._docstrings import Described, read_docstring

GOOGLE = """Find a place.

    It may take a while.

    Args:
        name (str): What it is called,
            in any language.
        where: Near which town: a name
        *more (tuple(int, int)): Others.
        silent:

    Returns:
        where: nothing that is read.

    More words that are no part of the summary.
    """

NUMPY = """Find a place.

    Parameters
    ----------
    name : str
        What it is called,
        in any language.
    lat, lon : float, optional
        In degrees.

    a heading of somebody's
        which is none

    Returns
    -------
    name : str
        Not this.
    """

SPHINX = """Find a place.

    :param name: What it is called,
        in any language.
    :param int lat: In degrees.
    :type lat: int
    :returns: name: Not this.
    """


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Described()),
        ("Find a place.", Described("Find a place.")),
        (
            GOOGLE,
            Described(
                "Find a place.\n\nIt may take a while.",
                {
                    "name": "What it is called, in any language.",
                    "where": "Near which town: a name",
                    "more": "Others.",
                },
            ),
        ),
        (
            NUMPY,
            Described(
                "Find a place.",
                {"name": "What it is called, in any language.", "lat": "In degrees.", "lon": "In degrees."},
            ),
        ),
        (SPHINX, Described("Find a place.", {"name": "What it is called, in any language.", "lat": "In degrees."})),
        ("Find.\n\nArgs:\n", Described("Find.")),
        ("Find.\n\nArgs:\n    nothing of an entry", Described("Find.")),
        ("Find.\n\nParameters\n--\nname : x\n    y", Described("Find.\n\nParameters\n--\nname : x\n    y")),
        ("Args:\n    a: first\n\n:param b: second", Described("", {"a": "first", "b": "second"})),
    ],
)
def test_what_a_docstring_says(text: str, expected: Described) -> None:
    """The summary is what stands before the first section; each argument has its words, on one line."""
    assert read_docstring(text) == expected


@given(st.text(alphabet="Args:\n -param x()*", max_size=200))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_is_read(text: str) -> None:
    """A docstring in nobody's form is a description, never an error."""
    read_docstring(text)
