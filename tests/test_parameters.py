"""Checking parameters: what is impossible is said before anything is sent."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.providers import CHECKS, EFFORTS, Parameters, Shape, Tool, checked, number, suggestion

NAN, INF = math.nan, math.inf
BEYOND_FLOAT = 10**400
TOOL = Tool("add")
SHAPE = Shape("any", {"type": "object"})


def short(value: object) -> str:
    return repr(value)[:20]


TABLE: dict[str, tuple[list[object], list[object]]] = {
    # what is possible, at the edges; what is not
    "max_tokens": ([1, 10**9], [0, -1, 1.0, True, "1", NAN]),
    "temperature": ([0, 2, 0.0, 2.0, 1.3], [-0.01, 2.01, True, False, "1", NAN, INF, -INF, BEYOND_FLOAT]),
    "top_p": ([0, 1, 0.5], [-0.01, 1.01, True, "1", NAN]),
    "top_k": ([1, 40], [0, -1, 1.5, True, "1"]),
    "frequency_penalty": ([-2, 2, 0.0], [-2.01, 2.01, True, NAN]),
    "presence_penalty": ([-2, 2, 0.0], [-2.01, 2.01, True, NAN]),
    "seed": ([0, -1, 2**63], [1.0, True, "1"]),
    "stop": (["END", "", [], ["a", "b"], ("a",)], [1, ["a", 1], {"a": 1}, b"END", True]),
    "reasoning_effort": (list(EFFORTS), ["", "LOW", "extreme", 1, True, [], {}]),
    "thinking_budget_tokens": ([0, 1, 32000], [-1, 1024.0, True, "1024"]),
    "tools": ([[], [TOOL], (TOOL, Tool("now"))], [TOOL, [{"name": "add"}], "add", [TOOL, None]]),
    "tool_choice": (["auto", "none", "required", "add"], ["", 1, {"type": "auto"}, True]),
    "parallel_tool_calls": ([True, False], [1, 0, "true"]),
    "json_mode": ([True, False], [1, 0, "true"]),
    "cache_policy": (["none", "auto"], ["", "Auto", True, 1, "always"]),
    "shape": ([SHAPE], [{"type": "object"}, "Facts", Shape]),
    "structured_output_mode": (["json_schema", "tool", "json_object"], ["", "JSON_SCHEMA", "json", 1, []]),
    "extra_body": (
        [{}, {"a": {"b": [1]}}, {"temperature": 0}],
        [[], "a", {1: "a"}, {"stream": True}, {"model": "m"}, {"messages": []}],
    ),
    "extra_headers": (
        [{}, {"x-a": "b"}, {"X-Title": "two words"}],
        [
            {"x-a": 1},
            {1: "b"},
            "x-a: b",
            {"x-a": "b\r\nx-b: c"},
            {"x a": "b"},
            {"": "b"},
            {"x-a": "b\x00"},
            {"x-ä": "b"},
        ],
    ),
    "extra_query": ([{}, {"api-version": 1}], [{1: "a"}, "a=b"]),
}


def test_every_parameter_has_a_check_and_every_check_a_parameter() -> None:
    """`Parameters`, `CHECKS` and the table of this file name the same parameters."""
    assert set(CHECKS) == set(Parameters.__annotations__) == set(TABLE)
    assert not Parameters.__required_keys__


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (good, _) in TABLE.items() for value in good])
def test_what_is_possible_passes_unchanged(name: str, value: object) -> None:
    """A possible value, the limits included, comes out as it went in."""
    given = {"tools": [TOOL], name: value}
    assert checked(given) == given


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (_, bad) in TABLE.items() for value in bad], ids=short
)
def test_what_is_impossible_is_refused_with_what_was_expected(name: str, value: object) -> None:
    """The error names the parameter and what it must be; a bool is no number. The value is not repeated."""
    with pytest.raises(ValueError, match=f"^{name} must be ") as caught:
        checked({"max_tokens": 5, name: value})
    assert str(caught.value) == f"{name} must be {CHECKS[name][1]}"


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"tool_choice": "required"}, "tool_choice must come with tools"),
        ({"tool_choice": "required", "tools": []}, "tool_choice must come with tools"),
        ({"tool_choice": "add", "tools": None}, "tool_choice must come with tools"),
        ({"tool_choice": "zzz", "tools": [TOOL]}, "or the name of a tool: add$"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls must come with tools"),
        ({"tools": [TOOL, Tool("add", "again")]}, "tools must have different names"),
    ],
)
def test_a_word_about_tools_that_are_not_there_is_refused(parameters: dict[str, object], why: str) -> None:
    """It would be lost on the way, or be refused by the vendor: the caller hears it before anything is sent."""
    with pytest.raises(ValueError, match=why):
        checked(parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"tool_choice": "none", "tools": [TOOL]},
        {"tools": [], "parallel_tool_calls": False},
    ],
)
def test_a_word_about_tools_that_is_true_without_any_is_taken(parameters: dict[str, object]) -> None:
    """A loop whose list of tools has run empty need not change the rest."""
    assert checked(parameters) == parameters


@pytest.mark.parametrize("name", TABLE)
def test_none_means_not_given(name: str) -> None:
    """A parameter that is None is left out, as if nobody had written it."""
    assert checked({name: None}) == {}
    assert checked({}) == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("max_token", "unknown parameter 'max_token'; did you mean 'max_tokens'?"),
        ("temprature", "unknown parameter 'temprature'; did you mean 'temperature'?"),
        ("TopP", "unknown parameter 'TopP'"),
        ("zzz", "unknown parameter 'zzz'"),
        ("", "unknown parameter ''"),
    ],
)
@pytest.mark.parametrize("value", [1, None])
def test_an_unknown_name_is_a_type_error_that_suggests_the_nearest(name: str, message: str, value: object) -> None:
    """Whatever its value, an unknown name is refused, with the known name that is close to it, if there is one."""
    with pytest.raises(TypeError) as caught:
        checked({name: value})
    assert str(caught.value) == message


def test_a_suggestion_needs_something_near() -> None:
    """Nothing is suggested out of nothing."""
    assert suggestion("anything", []) == ""
    assert suggestion("derivr", ["deriver", "dialectic"]) == "; did you mean 'deriver'?"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, True), (-1.5, True), (10**300, True), (BEYOND_FLOAT, False), (True, False), (NAN, False), (INF, False)]
    + [(other, False) for other in ("1", None, 1j, [1])],
    ids=short,
)
def test_a_number_is_finite_and_no_bool(value: object, expected: bool) -> None:
    """Numbers are ints and floats that a clock can count with."""
    assert number(value) is expected


SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
ANYTHING = SIMPLE | st.lists(SIMPLE, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), SIMPLE)


@given(st.dictionaries(st.sampled_from([*CHECKS, "unknown"]), ANYTHING, max_size=4))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_value_breaks_a_check(parameters: dict[str, object]) -> None:
    """Any value passes as it is or is refused by a `ValueError`; a `TypeError` is for names only."""
    try:
        assert checked(parameters) == {name: value for name, value in parameters.items() if value is not None}
    except ValueError:
        assert any(value is not None for value in parameters.values())
    except TypeError:
        assert "unknown" in parameters
