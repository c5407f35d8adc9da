"""The header fields of a request, byte by byte against a real front."""

from __future__ import annotations

from collections.abc import Mapping

from tests.functional.strict_shapes import Accepted, Refused, Shape, ShapeCase, each_a_test

HEAD_BYTES_MAX = 16 * 1024


def fields(*lines: bytes) -> bytes:
    """A request with these fields."""
    return b"".join(line + b"\r\n" for line in (b"GET / HTTP/1.1", *lines, b""))


def hosted(*lines: bytes) -> bytes:
    """A request with these fields behind its Host."""
    return fields(b"Host: a", *lines)


def padded(size: int) -> bytes:
    """A request whose head has this size, in fields that are not long."""
    head = hosted()
    lines = []
    while size - len(head) > 2000:
        lines.append(b"X: " + b"x" * 1000)
        head = hosted(*lines)
    return hosted(*lines, b"Y: " + b"y" * (size - len(head) - 5))


@each_a_test
class HostTests(ShapeCase):
    """RFC 9110 section 7.2, RFC 9112 section 3.2."""

    shapes: Mapping[str, Shape] = {
        "none": Refused("HTTP/1.1 has a Host (RFC 9112 section 3.2).", 400, fields()),
        "none_with_absolute_target": Refused(
            "Also when the target tells the host (RFC 9112 section 3.2).", 400, b"GET http://a/ HTTP/1.1\r\n\r\n"
        ),
        "two": Refused("And only one (RFC 9112 section 3.2).", 400, fields(b"Host: a", b"Host: b")),
        "two_equal": Refused("Even if they agree (RFC 9112 section 3.2).", 400, fields(b"Host: a", b"Host: a")),
        "two_in_other_case": Refused(
            "However they are spelled (RFC 9110 section 5.1).", 400, fields(b"Host: a", b"X: y", b"hOST: b")
        ),
        "two_in_http_1_0": Refused(
            "In HTTP/1.0 as well (RFC 9112 section 3.2).", 400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"
        ),
        "empty": Refused("A host of http has a name (RFC 9110 section 4.2.1).", 400, fields(b"Host:")),
        "blank": Refused("Whitespace is none (RFC 9110 section 4.2.1).", 400, fields(b"Host: \t ")),
        "with_userinfo": Refused("A user is no part of it (RFC 9110 section 4.2.4).", 400, fields(b"Host: u@a")),
        "with_a_path": Refused("Nor is a path (RFC 9110 section 7.2).", 400, fields(b"Host: a/b")),
        "with_a_scheme": Refused("Nor a scheme (RFC 9110 section 7.2).", 400, fields(b"Host: http://a")),
        "with_a_query": Refused("Nor a query (RFC 9110 section 7.2).", 400, fields(b"Host: a?b")),
        "with_a_space": Refused("Nor a space (RFC 3986 section 3.2.2).", 400, fields(b"Host: a b")),
        "list": Refused("It is no list (RFC 9110 section 7.2).", 400, fields(b"Host: a, b")),
        "list_without_a_space": Refused(
            "Not even one that could be a name (RFC 9110 section 5.3).", 400, fields(b"Host: a,b")
        ),
        "bad_port": Refused("A port is a number (RFC 3986 section 3.2.3).", 400, fields(b"Host: a:b")),
        "large_port": Refused("Of two bytes (RFC 3986 section 3.2.3).", 400, fields(b"Host: a:65536")),
        "signed_port": Refused("Without a sign (RFC 3986 section 3.2.3).", 400, fields(b"Host: a:-80")),
        "two_ports": Refused("And one (RFC 3986 section 3.2.3).", 400, fields(b"Host: a:80:80")),
        "backslash": Refused("No backslash (RFC 3986 section 3.2.2).", 400, fields(b"Host: a\\b")),
        "eight_bit": Refused("Names are ASCII (RFC 3986 section 3.2.2).", 400, fields(b"Host: \xc3\xa4.test")),
        "half_an_address": Refused("An address closes (RFC 3986 section 3.2.2).", 400, fields(b"Host: [::1")),
        "no_address": Refused("And is one (RFC 3986 section 3.2.2).", 400, fields(b"Host: [1::2::3]")),
        "bare_ipv6": Refused("In brackets (RFC 3986 section 3.2.2).", 400, fields(b"Host: ::1")),
        "nul": Refused("No control character is text (RFC 9110 section 5.5).", 400, fields(b"Host: a\0b")),
        "name_and_port": Accepted(
            "The worker gets it as it was sent (RFC 9110 section 7.2).",
            fields(b"Host:a-b_C.test:8080 "),
            ({"host": "a-b_C.test:8080", "x-forwarded-host": "a-b_C.test:8080"},),
        ),
        "ipv6": Accepted(
            "An address may have a port (RFC 3986 section 3.2.2).", fields(b"Host: [::1]:80"), ({"host": "[::1]:80"},)
        ),
        "underscored": Accepted(
            "What only looks like it is another field (RFC 9110 section 5.1), and a trap for some.",
            fields(b"Host: a", b"X_Host: c", b"Host_: b"),
            ({"host": "a", "x_host": "c"},),
        ),
    }


@each_a_test
class FieldTests(ShapeCase):
    """RFC 9110 section 5, RFC 9112 section 5."""

    shapes: Mapping[str, Shape] = {
        # Names.
        "space_before_the_colon": Refused("No space before a colon (RFC 9112 section 5.1).", 400, hosted(b"X : y")),
        "tab_before_the_colon": Refused("Nor a tab (RFC 9112 section 5.1).", 400, hosted(b"X\t: y")),
        "space_in_a_name": Refused("Nor within a name (RFC 9110 section 5.1).", 400, hosted(b"X Y: z")),
        "empty_name": Refused("A field has a name (RFC 9110 section 5.1).", 400, hosted(b": y")),
        "no_colon": Refused("And a colon (RFC 9112 section 5).", 400, hosted(b"X")),
        "no_token": Refused("A name is a token (RFC 9110 section 5.1).", 400, hosted(b"X(Y): z")),
        "quoted_name": Refused("Not a string (RFC 9110 section 5.1).", 400, hosted(b'"X": z')),
        "eight_bit_name": Refused("Of ASCII (RFC 9110 section 5.1).", 400, hosted(b"X\xc3\xa4: z")),
        "nul_in_a_name": Refused("Without NUL (RFC 9110 section 5.1).", 400, hosted(b"X\0: z")),
        "del_in_a_name": Refused("Nor DEL (RFC 9110 section 5.1).", 400, hosted(b"X\x7f: z")),
        "odd_name": Accepted(
            "Every token is a name (RFC 9110 section 5.6.2).",
            hosted(b"!#$%&'*+-.^`|~0: z"),
            ({"!#$%&'*+-.^`|~0": "z"},),
        ),
        # Values.
        "nul_in_a_value": Refused("A value has no NUL (RFC 9110 section 5.5).", 400, hosted(b"X: a\0b")),
        "control_character": Refused("Nor another control character (RFC 9110 section 5.5).", 400, hosted(b"X: \x01")),
        "escape": Refused("Nor an escape (RFC 9110 section 5.5).", 400, hosted(b"X: \x1b[2J")),
        "del": Refused("Nor DEL (RFC 9110 section 5.5).", 400, hosted(b"X: a\x7f")),
        "vertical_tab": Refused("Nor a vertical tab (RFC 9110 section 5.5).", 400, hosted(b"X: \x0by")),
        "folded": Refused(
            "A value does not go on in the next line (RFC 9112 section 5.2).", 400, hosted(b"X: y\r\n z")
        ),
        "folded_with_a_tab": Refused("Nor with a tab (RFC 9112 section 5.2).", 400, hosted(b"X: y\r\n\tz")),
        "folded_from_the_start": Refused("Nor does it begin there (RFC 9112 section 5.2).", 400, hosted(b"X:\r\n y")),
        "blank_line": Refused("A line of spaces is none (RFC 9112 section 5.2).", 400, hosted(b"X: y\r\n \r\nZ: z")),
        "empty_value": Accepted("A value may be empty (RFC 9110 section 5.5).", hosted(b"X:"), ({"x": ""},)),
        "whitespace_around": Accepted(
            "Whitespace around it is no part of it (RFC 9110 section 5.5).",
            hosted(b"X:\t  a \t b \t "),
            ({"x": "a \t b"},),
        ),
        "eight_bit_value": Accepted(
            "Other text than ASCII is let through (RFC 9110 section 5.5).",
            hosted(b"X: \xc3\xa4\x80\xff"),
            ({"x": "\xc3\xa4\x80\xff"},),
        ),
        "in_order": Accepted(
            "Fields of one name stay several, and in order (RFC 9110 section 5.3).",
            hosted(b"X: 1", b"Y: 2", b"x: 3"),
            ({"y": "2"},),
        ),
        # Sizes.
        "large_head": Refused("A head has a limit (RFC 6585 section 5).", 431, padded(HEAD_BYTES_MAX + 1)),
        "endless_head": Refused(
            "It need not come to its end for that (RFC 6585 section 5).", 431, padded(HEAD_BYTES_MAX + 100)[:-4]
        ),
        "just_as_large": Accepted("Up to it, all is well (RFC 9110 section 5.4).", padded(HEAD_BYTES_MAX)),
        "large_field": Refused(
            "One field has a limit of its own (RFC 9110 section 5.4).", 431, hosted(b"X: " + b"x" * 8200)
        ),
        "many_fields": Refused("So has their number (RFC 6585 section 5).", 431, hosted(*[b"X: y"] * 128)),
        "just_as_many": Accepted("Up to it, all is well (RFC 9110 section 5.4).", hosted(*[b"X: y"] * 127)),
        # Between the client and us.
        "connection_close": Accepted(
            "A client may say that it is done (RFC 9112 section 9.6).",
            hosted(b"Connection: close", b"X: y"),
            ({"connection": None, "x": "y"},),
            kept=False,
        ),
        "close_in_a_list": Accepted(
            "Close is close, among whatever else (RFC 9112 section 9.3).",
            hosted(b"Connection: keep-alive, , CLOSE"),
            ({"connection": None},),
            kept=False,
        ),
        "close_and_keep_in_http_1_0": Accepted(
            "Also before it was the rule (RFC 9112 section 9.3).",
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
            ({"connection": None},),
            kept=False,
        ),
        "keep_alive": Accepted(
            "Nothing of it goes further (RFC 9110 section 7.6.1).",
            hosted(b"Connection: keep-alive", b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive"),
            ({"connection": None, "keep-alive": None, "proxy-connection": None},),
        ),
        "nominated": Accepted(
            "A field that Connection names is for us (RFC 9110 section 7.6.1).",
            hosted(b"X-Secret: s", b"Connection: x-SECRET, y", b"Y: y", b"Z: z"),
            ({"x-secret": None, "y": None, "z": "z"},),
        ),
        "nominated_host": Accepted(
            "But no client can take the Host away (RFC 9110 section 7.6.1).",
            hosted(b"Connection: host, content-length, x-forwarded-for"),
            ({"host": "a", "x-forwarded-for": "127.0.0.1"},),
        ),
        "te": Accepted(
            "TE and Trailer are for the next one only (RFC 9110 section 10.1.4).",
            hosted(b"TE: trailers", b"Connection: te", b"Trailer: x"),
            ({"te": None, "trailer": None},),
        ),
        "httpoxy": Accepted(
            "Proxy is nothing that a client sends (RFC 3875 section 4.1.18).",
            hosted(b"Proxy: evil"),
            ({"proxy": None},),
        ),
        # Other protocols.
        "h2c": Accepted(
            "HTTP/2 does not begin behind our back (RFC 9113 section 3.1).",
            hosted(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
            ({"upgrade": None, "http2-settings": None, "connection": None},),
        ),
        "h2c_among_others": Accepted(
            "Not even in a list, however it is spelled (RFC 9110 section 7.8).",
            hosted(b"Connection: upgrade", b"Upgrade: foo, H2C"),
            ({"http2-settings": None},),
        ),
        "h2c_with_something_behind": Accepted(
            "What follows it is the next request (RFC 9110 section 7.8).",
            hosted(b"Connection: Upgrade", b"Upgrade: h2c") + hosted(b"X: y"),
            ({"upgrade": None}, {"x": "y"}),
        ),
        "upgrade_that_is_not_named": Accepted(
            "Upgrade is an offer only where Connection says so (RFC 9110 section 7.8).",
            hosted(b"Upgrade: websocket"),
            ({"upgrade": None, "connection": None},),
        ),
        "upgrade_in_http_1_0": Accepted(
            "And never in HTTP/1.0 (RFC 9110 section 7.8).",
            b"GET / HTTP/1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n",
            ({"upgrade": None, "connection": None},),
        ),
        "upgrade_with_a_body": Accepted(
            "The body of such a request is its body (RFC 9110 section 7.8).",
            b"POST /u HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 36\r\n\r\n"
            b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n!",
            ({"target": "/u", "body": b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n!"},),
        ),
        # Expectations.
        "unknown_expectation": Refused(
            "An expectation that nobody knows is not met (RFC 9110 section 10.1.1).", 417, hosted(b"Expect: tea")
        ),
        "expectations": Refused(
            "Nor is it among others (RFC 9110 section 10.1.1).", 417, hosted(b"Expect: 100-continue, tea")
        ),
        "expectation_in_another_field": Refused(
            "Nor in a field of its own (RFC 9110 section 10.1.1).",
            417,
            hosted(b"Expect: 100-continue", b"Expect: tea"),
        ),
        "expectation_in_http_1_0": Accepted(
            "HTTP/1.0 knows no expectations (RFC 9110 section 10.1.1).",
            b"GET / HTTP/1.0\r\nExpect: tea\r\nConnection: keep-alive\r\n\r\n",
            ({"expect": None},),
        ),
        "expectation_without_a_body": Accepted(
            "Without a body there is nothing to wait for (RFC 9110 section 10.1.1).",
            hosted(b"Expect: 100-continue"),
            ({"expect": None},),
        ),
    }

    def test_refused_head(self) -> None:
        """The refusal of a HEAD has no body either (RFC 9110 section 9.3.2)."""
        with self.client() as client:
            client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            reply = client.reply("HEAD")
        self.assertEqual((reply.status, reply.body), (400, b""))
        self.assertNotEqual(reply.headers["content-length"], "0")
        self.assertEqual(self.seen(), [])

    def test_continue(self) -> None:
        """Who waits for it is asked for the body when the worker can take it (RFC 9110 section 10.1.1)."""
        with self.client() as client:
            client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
            self.assertEqual(client._until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue")
            client.send(b"ok")
            reply = client.reply()
            self.assertEqual((reply.status, reply.note["body"]), (200, b"ok".hex()))
        (note,) = self.seen()
        self.assertNotIn("expect", [name for name, _ in note["headers"]])

    def test_continue_without_waiting(self) -> None:
        """Who does not wait is not asked (RFC 9110 section 10.1.1)."""
        with self.client() as client:
            client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok")
            reply = client.reply()
            self.assertEqual((reply.status, reply.interim, reply.note["body"]), (200, (), b"ok".hex()))

    def test_several_of_a_name(self) -> None:
        """Fields of one name arrive as they were sent, in order, between the others (RFC 9110 section 5.3)."""
        with self.client() as client:
            client.send(hosted(b"X: 1", b"Cookie: a", b"Y: 2", b"cookie: b", b"x: 3"))
            names = ("x", "y", "cookie")
            fields = [field for field in client.reply().note["headers"] if field[0] in names]
        self.assertEqual(fields, [["x", "1"], ["cookie", "a"], ["y", "2"], ["cookie", "b"], ["x", "3"]])
