"""The first line of a request, and the ends of lines, byte by byte against a real front."""

from __future__ import annotations

from collections.abc import Mapping

from tests.functional.strict_shapes import GOOD, Accepted, Refused, Shape, ShapeCase, each_a_test

FIELDS = b"\r\nHost: a\r\n\r\n"

LINE_BYTES_MAX = 8192
"""Half of what a head may have."""


def line(text: bytes) -> bytes:
    """A request with this first line."""
    return text + FIELDS


def target(text: bytes) -> bytes:
    """A request for this target."""
    return line(b"GET " + text + b" HTTP/1.1")


@each_a_test
class LineTests(ShapeCase):
    """RFC 9112 sections 2 and 3."""

    shapes: Mapping[str, Shape] = {
        # Spaces.
        "two_spaces_before_the_target": Refused(
            "One space parts the method from the target (RFC 9112 section 3).", 400, line(b"GET  / HTTP/1.1")
        ),
        "two_spaces_before_the_version": Refused(
            "One space parts the target from the version (RFC 9112 section 3).", 400, line(b"GET /  HTTP/1.1")
        ),
        "space_after_the_version": Refused(
            "Nothing stands behind the version (RFC 9112 section 3).", 400, line(b"GET / HTTP/1.1 ")
        ),
        "space_before_the_method": Refused(
            "Nothing stands before the method (RFC 9112 section 3).", 400, line(b" GET / HTTP/1.1")
        ),
        "tab_for_a_space": Refused("A tab is not a space (RFC 9112 section 3).", 400, line(b"GET\t/ HTTP/1.1")),
        "tab_before_the_version": Refused(
            "A tab is not a space, there neither (RFC 9112 section 3).", 400, line(b"GET /\tHTTP/1.1")
        ),
        "space_in_the_target": Refused("A target has no space (RFC 9112 section 3.2).", 400, target(b"/a b")),
        "space_before_the_first_field": Refused(
            "Whitespace between the first line and the fields is no field (RFC 9112 section 2.2).",
            400,
            b"GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
        ),
        # Methods.
        "lower_case_method": Refused(
            "Methods are case-sensitive (RFC 9110 section 9.1).", 501, line(b"get / HTTP/1.1")
        ),
        "unknown_method": Refused(
            "A method that nobody here knows is not implemented (RFC 9110 section 9.1).", 501, line(b"BREW / HTTP/1.1")
        ),
        "method_with_odd_characters": Refused(
            "A token is a method, if an unknown one (RFC 9110 section 5.6.2).", 501, line(b"G$T!~ / HTTP/1.1")
        ),
        "method_of_another_protocol": Refused(
            "What only RTSP knows is not known here (RFC 9110 section 9.1).", 501, line(b"DESCRIBE / HTTP/1.1")
        ),
        "method_that_is_no_token": Refused("A method is a token (RFC 9112 section 3.1).", 400, line(b"G(T / HTTP/1.1")),
        "method_with_a_colon": Refused("A field is no request line (RFC 9112 section 3.1).", 400, line(b"Host: a")),
        "nul_in_the_method": Refused("A method is a token (RFC 9112 section 3.1).", 400, line(b"GE\0T / HTTP/1.1")),
        "eight_bit_method": Refused("A method is a token (RFC 9112 section 3.1).", 400, line(b"G\xc9T / HTTP/1.1")),
        "long_method": Refused(
            "A method longer than any is not implemented (RFC 9112 section 3).", 501, line(b"A" * 100 + b" / HTTP/1.1")
        ),
        "endless_method": Refused("It need not come to its end for that (RFC 9112 section 3).", 501, b"A" * 1000),
        "no_method": Refused("There is a method (RFC 9112 section 3.1).", 400, line(b"/ HTTP/1.1")),
        "connect": Refused(
            "CONNECT is for proxies of another kind (RFC 9110 section 9.3.6).", 405, line(b"CONNECT a:443 HTTP/1.1")
        ),
        "connect_to_a_path": Refused(
            "CONNECT is refused in every form (RFC 9112 section 3.2.3).", 405, line(b"CONNECT / HTTP/1.1")
        ),
        "trace": Refused(
            "TRACE would tell what a browser hides (RFC 9110 section 9.3.8).", 405, line(b"TRACE / HTTP/1.1")
        ),
        "usual_extension_method": Accepted(
            "A method that is registered is passed on (RFC 9110 section 16.1).",
            line(b"PROPFIND /x HTTP/1.1"),
            ({"method": "PROPFIND", "target": "/x"},),
        ),
        # Versions.
        "version_0_9": Refused("HTTP/0.9 is not spoken (RFC 9112 section 2.3).", 505, line(b"GET / HTTP/0.9")),
        "version_1_2": Refused(
            "Nor a version that nobody has defined (RFC 9110 section 2.5).", 505, line(b"GET / HTTP/1.2")
        ),
        "version_2_0": Refused("HTTP/2 has another syntax (RFC 9110 section 15.6.6).", 505, line(b"GET / HTTP/2.0")),
        "version_3_0": Refused("So has HTTP/3 (RFC 9110 section 15.6.6).", 505, line(b"GET / HTTP/3.0")),
        "version_1_10": Refused("A version has two digits (RFC 9112 section 2.3).", 400, line(b"GET / HTTP/1.10")),
        "version_01_1": Refused("A version has two digits (RFC 9112 section 2.3).", 400, line(b"GET / HTTP/01.1")),
        "version_without_minor": Refused(
            "A version has two digits (RFC 9112 section 2.3).", 400, line(b"GET / HTTP/1")
        ),
        "version_with_a_comma": Refused("And a dot between them (RFC 9112 section 2.3).", 400, line(b"GET / HTTP/1,1")),
        "version_in_lower_case": Refused(
            "HTTP is written in capitals (RFC 9112 section 2.3).", 400, line(b"GET / http/1.1")
        ),
        "no_version": Refused("A line without a version is HTTP/0.9 (RFC 9112 section 3).", 400, line(b"GET /")),
        "simple_request": Refused("So is a line that is all (RFC 9112 section 3).", 400, b"GET /\r\n"),
        "another_protocol": Refused(
            "RTSP looks alike and is something else (RFC 9112 section 2.3).", 400, line(b"GET / RTSP/1.0")
        ),
        "icecast": Refused("So does ICE (RFC 9112 section 2.3).", 400, line(b"SOURCE / ICE/1.0")),
        "http2_preface": Refused(
            "The preface of HTTP/2 is made to be refused (RFC 9113 section 3.4).",
            505,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
        "tls": Refused(
            "A TLS handshake is no request, and is told so at once (RFC 9112 section 3).",
            400,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ),
        "http_1_0": Accepted(
            "HTTP/1.0 is spoken, and its connections end (RFC 9112 section 9.3).",
            b"GET /old HTTP/1.0\r\n\r\n",
            ({"target": "/old", "host": ""},),
            kept=False,
        ),
        "http_1_0_kept": Accepted(
            "Unless the client asks (RFC 9112 section C.2.2).",
            b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            ({"target": "/old", "connection": None},),
        ),
        # Targets.
        "fragment": Refused("A fragment is not sent (RFC 9110 section 4.2.5).", 400, target(b"/a#b")),
        "nul_in_the_target": Refused("A target is visible (RFC 9112 section 3.2).", 400, target(b"/a\0b")),
        "del_in_the_target": Refused("A target is visible (RFC 9112 section 3.2).", 400, target(b"/a\x7fb")),
        "eight_bit_target": Refused(
            "Other characters than those of ASCII are encoded (RFC 3986 section 2.1).", 400, target(b"/\xc3\xa4")
        ),
        "bare_percent": Refused("A percent sign begins an encoding (RFC 3986 section 2.1).", 400, target(b"/100%")),
        "half_an_encoding": Refused("Of two digits (RFC 3986 section 2.1).", 400, target(b"/a%2")),
        "encoding_of_other_digits": Refused("Hexadecimal ones (RFC 3986 section 2.1).", 400, target(b"/a%zz")),
        "encoded_nul": Refused(
            "An encoded NUL ends some readers' strings (RFC 3986 section 7.3).", 400, target(b"/a%00b")
        ),
        "backslash": Refused("A backslash is a slash to some (RFC 3986 section 2).", 400, target(b"/a\\..\\b")),
        "angle_brackets": Refused("They delimit (RFC 3986 appendix C).", 400, target(b"/<script>")),
        "quote": Refused("So do quotes (RFC 3986 appendix C).", 400, target(b'/a?"b"')),
        "relative_target": Refused("A path begins with a slash (RFC 9112 section 3.2.1).", 400, target(b"a/b")),
        "query_alone": Refused("Also when it is only the root (RFC 9112 section 3.2.1).", 400, target(b"?a=b")),
        "authority_form": Refused("host:port is for CONNECT (RFC 9112 section 3.2.3).", 400, target(b"a:80")),
        "asterisk_for_get": Refused("An asterisk is for OPTIONS (RFC 9112 section 3.2.4).", 400, target(b"*")),
        "asterisk": Accepted(
            "OPTIONS asks about the server as a whole (RFC 9112 section 3.2.4).",
            line(b"OPTIONS * HTTP/1.1"),
            ({"method": "OPTIONS", "target": "*"},),
        ),
        "other_scheme": Refused("Only http is served (RFC 9112 section 3.2.2).", 400, target(b"ftp://a/")),
        "absolute_without_host": Refused("http has a host (RFC 9110 section 4.2.1).", 400, target(b"http:///a")),
        "absolute_with_userinfo": Refused(
            "And no user in it (RFC 9110 section 4.2.4).", 400, target(b"http://user:secret@a/")
        ),
        "absolute_with_bad_port": Refused(
            "And a port that there is (RFC 9110 section 4.2.1).", 400, target(b"http://a:70000/")
        ),
        "absolute": Accepted(
            "The host of an absolute target counts, whatever Host says (RFC 9112 section 3.2.2).",
            target(b"http://b.test:81/c?d"),
            ({"target": "/c?d", "host": "b.test:81"},),
        ),
        "absolute_without_path": Accepted(
            "Without a path it is the root (RFC 9112 section 3.2.1).",
            target(b"HTTP://b.test?d"),
            ({"target": "/?d", "host": "b.test"},),
        ),
        "absolute_options": Accepted(
            "Without a path, OPTIONS is about the server as a whole (RFC 9112 section 3.2.4).",
            line(b"OPTIONS http://b.test HTTP/1.1"),
            ({"method": "OPTIONS", "target": "*", "host": "b.test"},),
        ),
        "two_slashes": Accepted(
            "An empty first segment is a segment (RFC 3986 section 3.3).", target(b"//a//b"), ({"target": "//a//b"},)
        ),
        "encodings_as_they_are": Accepted(
            "What is encoded stays so, and dots are not followed (RFC 3986 section 6.2.2).",
            target(b"/a%2Fb/../%7e/.%2e"),
            ({"target": "/a%2Fb/../%7e/.%2e"},),
        ),
        "what_browsers_send": Accepted(
            "Some characters are not encoded by browsers (RFC 3986 section 2.4 leaves it to them).",
            target(b"/a[0]|^?a[]={1}\\|^`&b=100%"),
            ({"target": "/a[0]|^?a[]={1}\\|^`&b=100%"},),
        ),
        "long_target": Refused(
            "A target has a limit (RFC 9110 section 15.5.15).", 414, target(b"/" + b"a" * LINE_BYTES_MAX)
        ),
        "endless_target": Refused(
            "It need not come to its end for that (RFC 9110 section 15.5.15).", 414, b"GET /" + b"a" * LINE_BYTES_MAX
        ),
        "just_as_long": Accepted(
            "Up to it, all is well (RFC 9112 section 3).",
            target(b"/" + b"a" * (LINE_BYTES_MAX - 14)),
            ({"target": "/" + "a" * (LINE_BYTES_MAX - 14)},),
        ),
        # Line ends.
        "bare_lf": Refused(
            "A line ends with CRLF (RFC 9112 section 2.2).", 400, line(b"GET / HTTP/1.1").replace(b"\r\n", b"\n")
        ),
        "bare_lf_after_the_first_line": Refused(
            "The first one too (RFC 9112 section 2.2).", 400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"
        ),
        "bare_lf_after_a_field": Refused(
            "And every other (RFC 9112 section 2.2).", 400, b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"
        ),
        "bare_lf_for_the_empty_line": Refused(
            "And the last (RFC 9112 section 2.2).", 400, b"GET / HTTP/1.1\r\nHost: a\r\n\nX"
        ),
        "bare_cr": Refused(
            "A CR alone ends nothing (RFC 9112 section 2.2).", 400, line(b"GET / HTTP/1.1").replace(b"\r\n", b"\r")
        ),
        "bare_cr_in_the_line": Refused(
            "Nor does it part anything (RFC 9112 section 2.2).", 400, line(b"GET /\rHTTP/1.1")
        ),
        "bare_cr_in_a_field": Refused(
            "Nor does it belong in a value (RFC 9112 section 2.2).", 400, b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"
        ),
        "bare_cr_before_the_empty_line": Refused(
            "Nor before a line (RFC 9112 section 2.2).", 400, b"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n"
        ),
        "lf_cr": Refused(
            "LF CR is not CRLF (RFC 9112 section 2.2).", 400, line(b"GET / HTTP/1.1").replace(b"\r\n", b"\n\r")
        ),
        "cr_cr_lf": Refused("Nor is CR CR LF (RFC 9112 section 2.2).", 400, b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        "leading_lf": Refused("A bare LF is no empty line (RFC 9112 section 2.2).", 400, b"\n" + GOOD),
        "leading_cr": Refused("Nor is a bare CR (RFC 9112 section 2.2).", 400, b"\r" + GOOD),
        "two_empty_lines": Refused(
            "One empty line may come first, not two (RFC 9112 section 2.2).", 400, b"\r\n\r\n" + GOOD
        ),
        "empty_line": Accepted(
            "One empty line may come first (RFC 9112 section 2.2).", b"\r\n" + GOOD, ({"target": "/good"},)
        ),
        "empty_line_between": Accepted(
            "Also between two requests, as old browsers sent it (RFC 9112 section 2.2).",
            b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok\r\n" + GOOD + b"\r\n",
            ({"method": "POST", "target": "/p", "body": b"ok"}, {"target": "/good"}),
        ),
        # One behind the other.
        "bad_second": Refused(
            "What came before a bad request is served, and nothing behind it (RFC 9112 section 9.3.2).",
            400,
            GOOD + line(b"GET  /bad HTTP/1.1") + GOOD,
            good=1,
        ),
        "bad_third_of_another_protocol": Refused(
            "However many there are (RFC 9112 section 9.3.2).",
            400,
            GOOD + GOOD + line(b"GET / RTSP/1.0") + GOOD,
            good=2,
        ),
        "many_ahead": Accepted(
            "Requests sent ahead are answered in order (RFC 9112 section 9.3.2).",
            b"".join(line(b"GET /%d HTTP/1.1" % number) for number in range(20)),
            tuple({"target": f"/{number}"} for number in range(20)),
        ),
        "too_many_ahead": Refused(
            "But not any number of them (RFC 9112 section 9.3.2 lets us say so).", 400, GOOD * 66, good=64
        ),
    }
