"""Subsets: a JSON schema in the part of JSON Schema that a vendor enforces. Pure.

A vendor that holds a model to a schema takes only part of JSON Schema. What narrows a value (a minimum, a pattern) and
is not in that part goes into the description, where the model can read it; the answer is validated against the whole
schema afterwards. What would have to be widened or closed against its meaning (free-form objects, intersections) is not
expressible: the caller then asks in another way.

Sources: developers.openai.com/api/docs/guides/structured-outputs, "supported schemas"; platform.claude.com/docs/en/
build-with-claude/structured-outputs, "JSON Schema limitations"; `openai.lib._pydantic` and `anthropic.transform_schema`
are the oracles of the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from ._json import encode
from ._schema import ABOUT, SHARED, Schema, is_recursive, resolved, takes_null


@final
@dataclass(frozen=True, slots=True)
class Subset:
    """What of JSON Schema a vendor enforces, beyond types, enums, `anyOf` and references.

    `keeps` are the keywords that stay where they are, `formats` the formats of texts. Where `all_required` holds,
    every property has to be required: one that may be left out may be null instead. `least_items` are the values of
    `minItems` that are known.
    """

    keeps: frozenset[str] = frozenset()
    formats: frozenset[str] = frozenset()
    all_required: bool = False
    recursive: bool = False
    least_items: frozenset[int] = frozenset()


_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_LIMITS = frozenset({"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})

OPENAI = Subset(_LIMITS | {"pattern", "minItems", "maxItems"}, _FORMATS, all_required=True, recursive=True)
FINE_TUNED = Subset(all_required=True, recursive=True)
"""Fine-tuned models of OpenAI know no limits, patterns and formats."""
ANTHROPIC = Subset(formats=_FORMATS | {"uri"}, least_items=frozenset({0, 1}))

_SILENT = frozenset({"$schema", "$id", "$comment", "$defs", "definitions", "discriminator", *ABOUT})
"""What says nothing to a model about the value itself, or is said elsewhere."""

_STRUCTURE = frozenset({"patternProperties", "allOf", "$dynamicRef"})
"""Keywords that hold part of the structure: without them the rest is not the same shape."""


class _Inexpressible(Exception):
    """The schema has no equal in the subset."""


def fitted(schema: Schema, subset: Subset) -> dict[str, Any] | None:
    """Return an object's schema in a subset; None where it is not expressible there.

    Every answer that the result allows has the structure that `schema` demands, once `settled` has undone what
    `all_required` asks for.
    """
    try:
        if not subset.recursive and is_recursive(schema):
            return None
        fitter = _Fitter(schema, subset)
        root = fitter.fit({**resolved(schema, schema), **{n: schema[n] for n in ABOUT if n in schema}})
        for name in SHARED:
            if name in schema:
                root[name] = {key: fitter.fit(part) for key, part in schema[name].items()}
    except _Inexpressible:
        return None
    return root


@final
class _Fitter:
    """Fits the parts of one schema into a subset."""

    def __init__(self, root: Schema, subset: Subset) -> None:
        self._root, self._subset = root, subset

    def fit(self, part: Any) -> dict[str, Any]:
        if not isinstance(part, Mapping):  # true is anything at all, false nothing
            raise _Inexpressible
        if "$ref" in part:
            return self._reference(part)
        all_of = part.get("allOf")
        if isinstance(all_of, list) and len(all_of) == 1 and isinstance(all_of[0], Mapping):
            rest = {name: value for name, value in part.items() if name != "allOf"}
            return self.fit({**all_of[0], **rest})
        if not _STRUCTURE.isdisjoint(part):
            raise _Inexpressible
        fit, used = self._kind(part)
        return self._described(fit, part, used)

    def _reference(self, part: Schema) -> dict[str, Any]:
        """A reference stands alone; a description of its own is said around it."""
        if not resolved(part, self._root):
            raise _Inexpressible
        about = {name: part[name] for name in part if name not in {"$ref", "default", *_SILENT - {"description"}}}
        if not about or not self._subset.all_required:
            return {"$ref": part["$ref"]}
        return self._described({"anyOf": [{"$ref": part["$ref"]}]}, part, {"$ref"})

    def _kind(self, part: Schema) -> tuple[dict[str, Any], set[str]]:
        """Return the part without what is said about it, and the keywords that went into it."""
        options = part.get("anyOf", part.get("oneOf"))
        if isinstance(options, list):
            if "properties" in part or "items" in part:
                raise _Inexpressible
            return {"anyOf": [self.fit(option) for option in options]}, {"anyOf", "oneOf", "type"}
        if "enum" in part or "const" in part:
            return self._literal(part)
        kind = part.get("type")
        if isinstance(kind, list):
            about = {"type", *_SILENT}
            rest = {name: value for name, value in part.items() if name not in about}
            each = [{"type": "null"} if one == "null" else self.fit({**rest, "type": one}) for one in kind]
            return {"anyOf": each}, set(part) - set(ABOUT)
        if kind == "object" or (kind is None and "properties" in part):
            return self._object(part)
        if kind == "array":
            return self._array(part)
        if kind is None:
            raise _Inexpressible
        return self._scalar(part, {"type": kind}, {"type"})

    def _literal(self, part: Schema) -> tuple[dict[str, Any], set[str]]:
        values = part["enum"] if "enum" in part else [part["const"]]
        if not values or not all(value is None or isinstance(value, (str, int, float)) for value in values):
            raise _Inexpressible
        fit: dict[str, Any] = {name: part[name] for name in ("enum", "const") if name in part}
        if self._subset.all_required:
            fit["type"] = part.get("type") or _type_of(values)
        return fit, {"enum", "const", "type"}

    def _object(self, part: Schema) -> tuple[dict[str, Any], set[str]]:
        properties = part.get("properties")
        if not isinstance(properties, Mapping) or part.get("additionalProperties", False) is not False:
            raise _Inexpressible  # free-form: to close it would be to forbid what is asked for
        required = [name for name in part.get("required", ()) if name in properties]
        fit: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
        for name, value in properties.items():
            given = self.fit(value)
            if self._subset.all_required and name not in required and not takes_null(value, self._root):
                given = _or_null(given)
            fit["properties"][name] = given
        if self._subset.all_required:
            fit["required"] = list(properties)
        elif "required" in part:
            fit["required"] = required
        return fit, {"type", "properties", "required", "additionalProperties"}

    def _array(self, part: Schema) -> tuple[dict[str, Any], set[str]]:
        fit: dict[str, Any] = {"type": "array"}
        used = {"type", "items", "prefixItems"}
        first = part.get("prefixItems", [])
        items = [*first, *([part["items"]] if isinstance(part.get("items"), Mapping) else [])]
        if not items:
            raise _Inexpressible
        each = [self.fit(item) for item in items]
        fit["items"] = each[0] if len(each) == 1 else {"anyOf": each}
        if part.get("minItems") in self._subset.least_items:
            fit["minItems"] = part["minItems"]
            used.add("minItems")
        return self._scalar(part, fit, used)

    def _scalar(self, part: Schema, fit: dict[str, Any], used: set[str]) -> tuple[dict[str, Any], set[str]]:
        """Take over the keywords that the subset knows; a pattern that looks around itself is known to nobody."""
        for name in part:  # in their own order: what is sent stays the same, and can be cached
            if name in self._subset.keeps and (name != "pattern" or "(?" not in part[name]):
                fit[name] = part[name]
        if part.get("format") in self._subset.formats:
            fit["format"] = part["format"]
        return fit, used | fit.keys()

    def _described(self, fit: dict[str, Any], part: Schema, used: set[str]) -> dict[str, Any]:
        """Add the title and the description, with what the subset does not know at the end of the latter."""
        lost = {name: value for name, value in part.items() if name not in used and name not in _SILENT}
        if lost.get("default", ...) is None:  # as good as none
            del lost["default"]
        said = [part["description"]] if part.get("description") else []
        if lost:
            said.append("{" + ", ".join(f"{name}: {encode(value).decode()}" for name, value in lost.items()) + "}")
        if "title" in part:
            fit["title"] = part["title"]
        if said:
            fit["description"] = "\n\n".join(said)
        return fit


_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def _type_of(values: list[Any]) -> str | list[str]:
    kinds = list(dict.fromkeys(_TYPES[type(value)] for value in values))
    return kinds[0] if len(kinds) == 1 else kinds


def _or_null(fit: dict[str, Any]) -> dict[str, Any]:
    null = {"type": "null"}
    if "anyOf" in fit:
        return {**fit, "anyOf": [*fit["anyOf"], null]}
    about = {name: fit[name] for name in ABOUT if name in fit}
    return {"anyOf": [{name: value for name, value in fit.items() if name not in about}, null], **about}
