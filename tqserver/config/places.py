"""
Values that say where: URL prefixes, hosts, networks, listening addresses. Pure.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from urllib.parse import quote, unquote

import yaml

from .model import ListenConfig, RouteConfig
from .nodes import Mistake, Wrong, closest, joined, line_of, mapping, mistake, pairs, shown
from .values import Read, boolean, file_path, plain, whole

ROUTES_MAX = 100
"""Of one worker."""

LISTENERS_MAX = 32
"""Each is a socket in every front."""

ENTRY_KEYS_MAX = 32
"""Of one item of a list. An alias can name a large mapping in every item; this bounds what that costs."""

UNIX_PATH_BYTES_MAX = 107
"""Of a UNIX socket's path: sun_path has 108 with the NUL (unix(7))."""

PREFIX_CHARS_MAX = 1024

_PATH_CHARACTERS = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*", re.ASCII)
"""RFC 3986 section 3.3."""

_TARGET_CHARACTERS = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?", re.ASCII)
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}", re.ASCII)
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def url_prefix(node: yaml.Node, path: str) -> str:
    """
    Read a URL prefix. A missing slash at the begin is added, one at the end is dropped.

    Whatever two servers could understand differently is refused: dot segments, empty segments, encoded
    slashes, letters that need no encoding but have it.
    """
    value = plain(node, path, "a URL path").strip()
    if not value:
        raise mistake(node, path, "must be a URL path, not empty", "write / for the whole site")
    if len(value) > PREFIX_CHARS_MAX:
        raise mistake(node, path, f"is longer than {PREFIX_CHARS_MAX} characters", "shorten it")
    if "://" in value:
        raise mistake(node, path, f"must be a path, not a URL: {shown(value)}", "write only what follows the host")
    prefix = value if value.startswith("/") else "/" + value
    for mark, what in (("?", "a query"), ("#", "a fragment"), ("*", "a wildcard"), ("\\", "a backslash")):
        if mark in prefix:
            hint = f"write {shown(prefix.split(mark)[0] or '/')}; a prefix takes all that is below it"
            raise mistake(node, path, f"holds {what}: {shown(value)}", hint)
    if _PATH_CHARACTERS.fullmatch(prefix) is None:
        raise mistake(
            node,
            path,
            f"holds characters that a URL has encoded only: {shown(value)}",
            f"write {shown(quote(prefix))}",
        )
    segments = prefix.split("/")[1:]
    if segments and not segments[-1]:
        segments.pop()
    for segment in segments:
        if not segment:
            raise mistake(node, path, f"holds an empty segment (//): {shown(value)}", "write one slash")
        if unquote(segment) in (".", ".."):
            raise mistake(node, path, f"holds the segment {segment}: {shown(value)}", "write where it leads to")
    return "/" + "/".join(_canonical(segment, value, node, path) for segment in segments)


def _canonical(segment: str, value: str, node: yaml.Node, path: str) -> str:
    """
    A segment with its percent-encodings in upper case (RFC 3986 section 6.2.2.1), and none that is not
    needed.
    """
    for encoded in _ENCODED.findall(segment):
        letter = chr(int(encoded[1:], 16))
        if letter in "/\\\0":
            raise mistake(node, path, f"holds {encoded}, an encoded separator: {shown(value)}", "choose another prefix")
        if letter in _UNRESERVED:
            raise mistake(node, path, f"holds {encoded}, which is only {letter}: {shown(value)}", f"write {letter}")
    return _ENCODED.sub(lambda found: found.group().upper(), segment)


def url_path(node: yaml.Node, path: str) -> str:
    """Read the path of a URL that is asked for or answered, perhaps with a query."""
    value = plain(node, path, "a URL path")
    if len(value) > PREFIX_CHARS_MAX or _TARGET_CHARACTERS.fullmatch(value) is None:
        raise mistake(node, path, f"must be a URL path, not {shown(value)}", "it begins with /, such as /health")
    return value


def host_name(node: yaml.Node, path: str) -> str:
    """Read the host of a route: lower case, no port, no dot at the end."""
    written = plain(node, path, "a host name").strip()
    value = written.lower().removesuffix(".")
    if "*" in value:
        raise mistake(
            node, path, f"holds a wildcard: {shown(written)}", "list the hosts, or leave the host out for all"
        )
    literal = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        address = ip_address(literal)
        return f"[{address}]" if address.version == 6 else str(address)
    except ValueError:
        pass
    if "/" in value:
        raise mistake(node, path, f"is not a host alone: {shown(written)}", "write only the host, such as example.org")
    if ":" in value:
        raise mistake(node, path, f"holds a port: {shown(written)}", f"write {shown(value.split(':')[0])}")
    if not value.isascii():
        raise mistake(node, path, f"is not ASCII: {shown(written)}", "write it in its xn-- form (punycode)")
    if len(value) > 253 or not all(_LABEL.fullmatch(label) for label in value.split(".")):
        raise mistake(node, path, f"is no host name: {shown(written)}", "such as example.org")
    return value


def network(node: yaml.Node, path: str) -> str:
    """Read a network in CIDR form, a single address, or C{unix}."""
    value = plain(node, path, "a network").strip()
    if value.lower() == "unix":
        return "unix"
    try:
        return str(ip_network(value))
    except ValueError:
        pass
    try:
        whole_network = ip_network(value, strict=False)
    except ValueError:
        raise mistake(node, path, f"is no network: {shown(value)}", "such as 10.0.0.0/8 or 192.0.2.1, or unix")
    raise mistake(node, path, f"has bits beyond its mask: {shown(value)}", f"write {whole_network}")


def address(node: yaml.Node, path: str) -> str:
    """Read the address to listen on."""
    value = plain(node, path, "an IP address").strip().lower()
    if value == "localhost":
        return "127.0.0.1"
    try:
        return str(ip_address(value[1:-1] if value.startswith("[") and value.endswith("]") else value))
    except ValueError:
        hint = '127.0.0.1 for this machine only, 0.0.0.0 for all addresses, "::" with IPv6'
        raise mistake(node, path, f"must be an IP address, not {shown(value)}", hint)


port = whole(0, 65_535, remedy="0 takes any that is free")


def socket_path(node: yaml.Node, path: str) -> str:
    """Read the path of a UNIX socket."""
    value = file_path("the path of a socket")(node, path)
    if len(value.encode()) > UNIX_PATH_BYTES_MAX:
        raise mistake(
            node,
            path,
            f"is longer than the {UNIX_PATH_BYTES_MAX} bytes that a socket's path may have",
            "shorten it",
        )
    return value


def listener(node: yaml.Node, path: str) -> ListenConfig:
    """Read one entry of C{server.listen}; the path of a UNIX socket is as written."""
    reads: dict[str, Read[object]] = {
        "address": address,
        "port": port,
        "unix": socket_path,
        "proxy_protocol": boolean,
    }
    found = entry(node, path, reads, "address and port, or unix", _later)
    proxy_protocol = bool(found.pop("proxy_protocol", False))
    unix = found.get("unix")
    if unix is not None and len(found) > 1:
        raise mistake(node, path, "has unix and also address or port", "make it two listeners")
    if unix is None and "port" not in found:
        raise mistake(node, path, "has neither port nor unix", "write {address: 0.0.0.0, port: 8080} or {unix: PATH}")
    where, number = found.get("address", "0.0.0.0"), found.get("port", 0)
    assert isinstance(where, str) and isinstance(number, int) and (unix is None or isinstance(unix, str))
    if unix is not None:
        return ListenConfig(unix=unix, port=0, proxy_protocol=proxy_protocol)
    return ListenConfig(address=where, port=number, proxy_protocol=proxy_protocol)


_later = {
    "tls": "put a proxy that speaks TLS in front and list it in server.trusted_proxies",
}
"""Keys of a listener that the contract has and this version has not, with what to do meanwhile."""


def route(node: yaml.Node, path: str) -> RouteConfig:
    """Read one entry of C{routes}."""
    reads: dict[str, Read[object]] = {"host": host_name, "path": url_prefix, "async": boolean}
    found = entry(node, path, reads, "path, and perhaps host and async", {})
    prefix, host, asynchronous = found.get("path"), found.get("host"), found.get("async")
    if prefix is None:
        raise mistake(node, path, "has no path", "write {path: /} for the whole host")
    assert isinstance(prefix, str) and (host is None or isinstance(host, str))
    assert asynchronous is None or isinstance(asynchronous, bool)
    return RouteConfig(prefix=prefix, host=host, asynchronous=asynchronous)


def entry(
    node: yaml.Node, path: str, reads: dict[str, Read[object]], wanted: str, later: dict[str, str]
) -> dict[str, object]:
    """Read a small mapping with fixed keys."""
    entry = mapping(node, path, wanted)
    if len(entry.value) > ENTRY_KEYS_MAX:
        raise mistake(node, path, f"has {len(entry.value)} keys; it must hold {wanted}", "is it another section?")
    keys, wrongs = pairs(entry, path)
    found: dict[str, object] = {}
    for pair in keys[:ENTRY_KEYS_MAX]:
        where = joined(path, pair.key)
        if pair.key in later:
            wrongs.append(Wrong(pair.line, where, "is something that this version does not have yet", later[pair.key]))
        elif pair.key not in reads:
            meant = closest(pair.key, reads)
            hint = f"did you mean {meant}?" if meant else f"known here: {', '.join(reads)}"
            wrongs.append(Wrong(pair.line, where, "is not a known key", hint))
        else:
            try:
                found[pair.key] = reads[pair.key](pair.value, where)
            except Mistake as wrong:
                wrongs.extend(wrong.wrongs)
    if wrongs:
        raise Mistake(*wrongs)
    return found


def lines_of_items(node: yaml.Node) -> tuple[int, ...]:
    """The line of each item of a list, or the line of the node itself."""
    if isinstance(node, yaml.SequenceNode):
        return tuple(line_of(item) for item in node.value)
    return (line_of(node),)
