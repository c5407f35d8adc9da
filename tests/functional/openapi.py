"""A published description of a service, as a source of requests, good and bad, and as the judge of its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import yaml
from hypothesis import strategies as st

from bench.project import CHECKOUT

Schema = dict[str, Any]

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)

TYPES = {"string": str, "integer": int, "object": dict, "array": list}


@dataclass(frozen=True)
class Operation:
    """
    One method of one path.

    @ivar parameters: those of the query.
    @ivar arguments: those of the path.
    @ivar body: schema of the JSON body; L{None} if it takes none.
    @ivar raw: whether it takes any bytes.
    """

    method: str
    path: str
    parameters: tuple[Schema, ...]
    arguments: tuple[Schema, ...]
    body: Schema | None
    raw: bool
    body_bytes_max: int
    responses: dict[int, Schema]

    def at(self, **arguments: str) -> str:
        """The path of a request."""
        path = self.path
        for name, value in arguments.items():
            path = path.replace("{" + name + "}", quote(value, safe=""))
        return path


class Description:
    """C{docs/openapi/NAME.yaml}, with all references followed."""

    def __init__(self, name: str) -> None:
        self._document: Schema = yaml.safe_load((CHECKOUT / f"docs/openapi/{name}.yaml").read_text())

    def _followed(self, node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                found: Any = self._document
                for part in node["$ref"].split("/")[1:]:
                    found = found[part]
                return self._followed(found)
            return {key: self._followed(value) for key, value in node.items()}
        return [self._followed(each) for each in node] if isinstance(node, list) else node

    def operations(self) -> Iterator[Operation]:
        """All of them."""
        for path, item in self._followed(self._document["paths"]).items():
            for method in ("get", "post", "put", "delete"):
                if method not in item:
                    continue
                operation = item[method]
                parameters = item.get("parameters", []) + operation.get("parameters", [])
                content = operation.get("requestBody", {}).get("content", {})
                yield Operation(
                    method.upper(),
                    path,
                    tuple(each for each in parameters if each["in"] == "query"),
                    tuple(each for each in parameters if each["in"] == "path"),
                    content.get("application/json", {}).get("schema"),
                    "application/octet-stream" in content,
                    operation.get("x-body-bytes-max", 0),
                    {int(status): response for status, response in operation["responses"].items()},
                )


# Good and bad values.


def good(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that a schema allows."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "integer":
        least = schema.get("minimum")
        return st.integers(least, schema.get("maximum", max(least or 0, 10**30)))
    if kind == "string":
        if "pattern" in schema:
            return st.from_regex(re.compile(schema["pattern"].replace("$", r"\Z")), fullmatch=True)
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=min(schema.get("maxLength", 100), 100))
    if kind == "array":
        return st.lists(
            good(schema["items"]), min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", 5), 5)
        )
    properties = schema["properties"]
    required = {name: good(properties[name]) for name in schema.get("required", ())}
    optional = {name: good(each) for name, each in properties.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


def bad(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that a schema forbids."""
    return st.one_of(ANYTHING, *_nearly(schema)).filter(lambda value: not conforms(schema, value))


def _nearly(schema: Schema) -> list[st.SearchStrategy[Any]]:
    """Values that are wrong in one place only, or perhaps not at all."""
    kind = schema["type"]
    if kind == "integer":
        edges = [schema.get("minimum", 0) - 1, schema.get("maximum", 0) + 1, 2**63, -(2**63), 2**64, 10**40]
        return [st.sampled_from([*edges, True, False, 1.5, 60.0, "60", None])]
    if kind == "string":
        longer = "x" * (schema.get("maxLength", 300) + 1)
        return [st.sampled_from([longer, "", "-", "a/b", "ä", "a\n", "\0", "text/html"]), st.text(max_size=90)]
    if kind == "array":
        longer_by_one = [st.just([0] * (schema.get("maxItems", 0) + 1))] if schema.get("maxItems", 0) < 1000 else []
        return [st.lists(bad(schema["items"]), min_size=1, max_size=2), *longer_by_one]
    properties = schema["properties"]
    wrong_one = [
        st.tuples(good(schema), bad(each)).map(lambda pair, name=name: {**pair[0], name: pair[1]})
        for name, each in properties.items()
    ]
    missing_one = [
        good(schema).map(lambda value, name=name: {key: each for key, each in value.items() if key != name})
        for name in schema.get("required", ())
    ]
    return [*wrong_one, *missing_one]


def conforms(schema: Schema, value: Any) -> bool:
    """Whether a value is as a schema wants it."""
    if "oneOf" in schema:
        return sum(conforms(each, value) for each in schema["oneOf"]) == 1
    if "enum" in schema and value not in schema["enum"]:
        return False
    kind = schema["type"]
    if not isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, bool)):
        return False
    if kind == "integer":
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if kind == "string":
        pattern = schema.get("pattern", "").replace("$", r"\Z")
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)) and bool(
            re.search(pattern, value)
        )
    if kind == "array":
        return schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)) and all(
            conforms(schema["items"], each) for each in value
        )
    properties = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    return (
        all(name in value for name in schema.get("required", ()))
        and len(value) <= schema.get("maxProperties", len(value))
        and all(conforms(properties[name], each) for name, each in value.items() if name in properties)
        and (rest is None or all(conforms(rest, each) for name, each in value.items() if name not in properties))
    )


# Bodies that are wrong before anybody looks at what is in them.


def mangled(schema: Schema) -> st.SearchStrategy[bytes]:
    """Bodies that are no JSON, or JSON that nobody should read."""
    text = good(schema).map(lambda value: json.dumps(value).encode())
    return st.one_of(
        st.binary(max_size=40).filter(_is_no_json),
        st.sampled_from(
            [
                b"",
                b"null",
                b"{",
                b"\xef\xbb\xbf{}",
                b'{"name":"a","messages":[],"leases":["a"],"x":"\xff"}',
                b'{"x":' * 50_000,
                b'{"name":"a","messages":[],"leases":["a"],"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
                b'{"name":"\\ud800","messages":[{"body":"\\ud800"}],"leases":["\\udfff"]}',
                b'{"name":NaN,"messages":NaN,"leases":NaN}',
            ]
        ),
        text.map(lambda body: body[:-1]),
        text.map(lambda body: body + b"x"),
        text.map(lambda body: body.decode().encode("utf-16")),
        text.map(lambda body: b"[" + body + b"]"),
    )


def _is_no_json(data: bytes) -> bool:
    try:
        return not isinstance(json.loads(data), dict)
    except ValueError:
        return True
    except RecursionError:
        return True
