"""JSON schemas: their references, the object at their root, and an answer that says "left out" by null. Pure.

What a vendor enforces of a schema stands in `_subset.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

ABOUT = ("title", "description")
"""What is said about a value, and does not narrow it."""

SHARED = ("$defs", "definitions")
"""Where the parts stand that are referred to."""


def is_object(schema: Schema) -> bool:
    """Say whether every value of a schema is an object, as far as its root shows."""
    root = resolved(schema, schema)
    return root.get("type") == "object" or ("type" not in root and isinstance(root.get("properties"), Mapping))


def wrapped(schema: Schema) -> dict[str, Any]:
    """Return the schema of an object that holds the value of `schema` as its `value`."""
    shared = {name: _moved(schema[name]) for name in SHARED if name in schema}
    inner = {name: _moved(part) for name, part in schema.items() if name not in {*SHARED, "$schema", "$id"}}
    about = {name: schema[name] for name in ("$schema",) if name in schema}
    outer = {"type": "object", "properties": {"value": inner}, "required": ["value"], "additionalProperties": False}
    return {**about, **outer, **shared}


def _moved(part: Any) -> Any:
    """Return a part of a schema with its references pointing to where the root has gone."""
    if isinstance(part, list):
        return [_moved(inner) for inner in part]
    if not isinstance(part, Mapping):
        return part
    moved = {name: _moved(inner) for name, inner in part.items()}
    reference = part.get("$ref")
    if isinstance(reference, str) and not reference.startswith(tuple(f"#/{name}/" for name in SHARED)):
        moved["$ref"] = "#/properties/value" + reference[1:]
    return moved


def references(schema: object) -> Iterator[str]:
    """Yield every `$ref` in a schema."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for part in schema.values():
            yield from references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from references(part)


def referred(reference: str, root: Schema) -> Any:
    """Return what a `$ref` points to.

    Raises:
        LookupError: It points nowhere, or out of the schema.
    """
    if reference != "#" and not reference.startswith("#/"):
        raise LookupError(reference)
    found: Any = root
    for step in reference.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        found = found[int(step)] if isinstance(found, list) and step.isdecimal() else found[step]
    return found


def resolved(schema: Any, root: Schema) -> Schema:
    """Return a schema, or, if it is a reference, what it points to in the end; an empty one if that is nowhere."""
    seen: set[str] = set()
    while isinstance(schema, Mapping) and isinstance(reference := schema.get("$ref"), str):
        if reference in seen:
            return {}
        seen.add(reference)
        try:
            schema = referred(reference, root)
        except (LookupError, TypeError):
            return {}
    return schema if isinstance(schema, Mapping) else {}


def is_recursive(schema: Schema) -> bool:
    """Say whether a part of a schema contains itself."""
    done: set[str] = set()

    def comes_back(part: object, within: frozenset[str]) -> bool:
        for reference in references(part):
            if reference in within:
                return True
            if reference in done:
                continue
            if comes_back(resolved({"$ref": reference}, schema), within | {reference}):
                return True
            done.add(reference)
        return False

    return comes_back(schema, frozenset({"#"}))


def plain(schema: Schema) -> dict[str, Any]:
    """Return an object's schema as any vendor takes it where it does not enforce it: as the arguments of a tool, say.

    The type stands at the root itself, and nothing is said by `oneOf`, which OpenAI refuses everywhere.
    """
    kept = {name: schema[name] for name in (*ABOUT, *SHARED) if name in schema}
    root = {name: part for name, part in resolved(schema, schema).items() if name not in {"$schema", "$id", "$comment"}}
    return {"type": "object", **_without_one_of({**root, **kept})}


def _without_one_of(part: Any) -> Any:
    if isinstance(part, list):
        return [_without_one_of(inner) for inner in part]
    if not isinstance(part, Mapping):
        return part
    one_of = part.get("oneOf")
    if not isinstance(one_of, list) or "anyOf" in part:
        return {name: _without_one_of(inner) for name, inner in part.items()}
    rest = {name: _without_one_of(inner) for name, inner in part.items() if name not in {"oneOf", "discriminator"}}
    return {**rest, "anyOf": _without_one_of(one_of)}


def takes_null(schema: Any, root: Schema) -> bool:
    """Say whether a schema says of null that it is a value."""
    part = resolved(schema, root)
    options = part.get("anyOf", part.get("oneOf"))
    if isinstance(options, list):
        return any(takes_null(option, root) for option in options)
    if "enum" in part or "const" in part:
        return None in part.get("enum", [part.get("const", ...)])
    kind = part.get("type")
    return kind is None or kind == "null" or (isinstance(kind, list) and "null" in kind)


def settled(value: Any, schema: Any, root: Schema) -> Any:
    """Return an answer without the nulls that stand for properties left out, as `all_required` makes a model say it."""
    part = resolved(schema, root)
    options = part.get("anyOf", part.get("oneOf"))
    if isinstance(options, list):
        fits = (option for option in options if _may_be(value, resolved(option, root)))
        return settled(value, next(fits, {}), root)
    if isinstance(value, list):
        return [settled(item, part.get("items"), root) for item in value]
    properties = part.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return value
    required = part.get("required", ())
    return {
        name: settled(inner, properties.get(name), root)
        for name, inner in value.items()
        if inner is not None or name in required or name not in properties or takes_null(properties[name], root)
    }


def _may_be(value: Any, part: Schema) -> bool:
    """Say whether a value may be one of a schema's, by its kind, its names and its constants."""
    if isinstance(value, list):
        return part.get("type") == "array"
    properties = part.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, Mapping):
        return False
    fixed = {name: inner["const"] for name, inner in properties.items() if isinstance(inner, dict) and "const" in inner}
    return value.keys() <= properties.keys() and all(value.get(name, const) == const for name, const in fixed.items())
