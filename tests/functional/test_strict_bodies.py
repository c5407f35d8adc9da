"""The bodies of requests, and what tells where they end, byte by byte against a real front."""

from __future__ import annotations

from collections.abc import Mapping

from tests.functional.strict_shapes import GOOD, Accepted, Refused, Shape, ShapeCase, each_a_test

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """A request with these fields and this body."""
    return b"\r\n".join([b"POST /p HTTP/" + version, b"Host: a", *lines, b"", body])


def coded(value: bytes, body: bytes = b"5\r\nhello\r\n0\r\n\r\n") -> bytes:
    """A request with this Transfer-Encoding."""
    return post(b"Transfer-Encoding:" + value, body=body)


def sized(value: bytes) -> bytes:
    """A request with this Content-Length."""
    return post(b"Content-Length:" + value, body=b"hello")


def chunks(body: bytes) -> bytes:
    """A request with this body in chunks, and behind it what must not become a request."""
    return coded(b" chunked", body) + SMUGGLED


def sizes(line: bytes) -> bytes:
    """A request whose chunk has this line for a size."""
    return chunks(line + b"\r\nhello\r\n0\r\n\r\n")


HELLO = {"target": "/p", "body": b"hello"}


@each_a_test
class FramingTests(ShapeCase):
    """RFC 9112 section 6."""

    shapes: Mapping[str, Shape] = {
        "length": Accepted("A body has a length (RFC 9112 section 6.2).", sized(b" 5"), (HELLO,)),
        "length_with_zeros": Accepted("Of any digits (RFC 9110 section 8.6).", sized(b" 0005"), (HELLO,)),
        "length_in_whitespace": Accepted("With whitespace around (RFC 9110 section 5.5).", sized(b"\t 5 \t"), (HELLO,)),
        "length_of_zero": Accepted(
            "It may be none (RFC 9110 section 8.6).",
            post(b"Content-Length: 0"),
            ({"body": b"", "content-length": "0"},),
        ),
        "body_of_get": Accepted(
            "The body of a GET is one, too (RFC 9110 section 9.3.1).",
            b"GET /g HTTP/1.1\r\nHost: a\r\nContent-Length: 36\r\n\r\n" + SMUGGLED + b"!",
            ({"method": "GET", "target": "/g", "body": SMUGGLED + b"!"},),
        ),
        "two_lengths": Refused(
            "There is one length (RFC 9112 section 6.3).", 400, post(b"Content-Length: 5", b"Content-Length: 6")
        ),
        "two_equal_lengths": Refused(
            "Even if they agree (RFC 9112 section 6.3).", 400, post(b"Content-Length: 5", b"Content-Length: 5")
        ),
        "list_of_lengths": Refused("It is no list (RFC 9112 section 6.3).", 400, sized(b" 5, 5")),
        "other_list_of_lengths": Refused("Of any sort (RFC 9112 section 6.3).", 400, sized(b" 5,6")),
        "positive_length": Refused("It has no sign (RFC 9110 section 8.6).", 400, sized(b" +5")),
        "negative_length": Refused("Neither sign (RFC 9110 section 8.6).", 400, sized(b" -5")),
        "hexadecimal_length": Refused("It is decimal (RFC 9110 section 8.6).", 400, sized(b" 0x5")),
        "broken_length": Refused("It is whole (RFC 9110 section 8.6).", 400, sized(b" 5.0")),
        "spaced_length": Refused("It is one number (RFC 9110 section 8.6).", 400, sized(b" 5 5")),
        "underscored_length": Refused("Of digits only (RFC 9110 section 8.6).", 400, sized(b" 1_0")),
        "quoted_length": Refused("Without quotes (RFC 9110 section 8.6).", 400, sized(b' "5"')),
        "arabic_length": Refused("And ASCII ones (RFC 9110 section 8.6).", 400, sized(b" \xd9\xa5")),
        "empty_length": Refused("At least one (RFC 9110 section 8.6).", 400, sized(b"")),
        "vertical_tab_length": Refused("A vertical tab is no space (RFC 9110 section 5.6.3).", 400, sized(b" \x0b5")),
        "overflowing_length": Refused(
            "It fits into 64 bits (RFC 9110 section 8.6).", 400, sized(b" 18446744073709551621")
        ),
        "huge_length": Refused("And more than fits (RFC 9110 section 8.6).", 400, sized(b" " + b"9" * 100)),
        "length_with_a_space_before_the_colon": Refused(
            "A field is spelled without spaces (RFC 9112 section 5.1).",
            400,
            post(b"Content-Length : 5", body=b"hello") + SMUGGLED,
        ),
        "folded_length": Refused(
            "Nor does it go on in the next line (RFC 9112 section 5.2).", 400, post(b"Content-Length: \r\n 5")
        ),
        "declared_too_large": Refused(
            "A body that will be too large is not waited for (RFC 9110 section 15.5.14).",
            413,
            post(b"Content-Length: 100001", body=b"x"),
        ),
        # Chunked.
        "chunked": Accepted(
            "Or it is chunked (RFC 9112 section 7.1).",
            coded(b" chunked"),
            ({**HELLO, "transfer-encoding": "chunked", "content-length": None},),
        ),
        "chunked_in_capitals": Accepted("In any case (RFC 9112 section 7).", coded(b" CHUNKED"), (HELLO,)),
        "chunked_after_a_tab": Accepted(
            "With whitespace around (RFC 9110 section 5.5).", coded(b"\tchunked "), (HELLO,)
        ),
        "chunked_without_a_space": Accepted("Or without (RFC 9110 section 5.5).", coded(b"chunked"), (HELLO,)),
        "length_and_chunked": Refused(
            "Both is an attack or a mistake (RFC 9112 section 6.3).",
            400,
            post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
        ),
        "chunked_and_length": Refused(
            "In either order (RFC 9112 section 6.3).",
            400,
            post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED),
        ),
        "unknown_and_length": Refused(
            "With any coding (RFC 9112 section 6.3).",
            400,
            post(b"Content-Length: 5", b"Transfer-Encoding: x", body=b"hello"),
        ),
        "chunked_in_http_1_0": Refused(
            "HTTP/1.0 has no transfer codings (RFC 9112 section 6.1).",
            400,
            post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"1.0"),
        ),
        "unknown_before_chunked": Refused(
            "A coding that nobody knows cannot be undone (RFC 9112 section 6.1).", 501, coded(b" x, chunked")
        ),
        "gzip_before_chunked": Refused(
            "Nor is one undone that is known elsewhere (RFC 9112 section 6.1).", 501, coded(b" gzip, chunked")
        ),
        "identity_before_chunked": Refused(
            "Identity is none any more (RFC 9112 section 7).", 501, coded(b" identity, chunked")
        ),
        "gzip_before_chunked_in_two_fields": Refused(
            "In two fields it is the same list (RFC 9110 section 5.3).",
            501,
            post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        ),
        "chunked_not_last": Refused(
            "Without chunks there is no end (RFC 9112 section 6.3).", 400, coded(b" chunked, gzip")
        ),
        "gzip_alone": Refused("Not there either (RFC 9112 section 6.3).", 400, coded(b" gzip")),
        "identity_alone": Refused("Nor there (RFC 9112 section 6.3).", 400, coded(b" identity")),
        "no_coding": Refused("Nor where there is none (RFC 9112 section 6.3).", 400, coded(b"")),
        "empty_member": Refused("A list has members (RFC 9110 section 5.6.1).", 400, coded(b" , chunked")),
        "empty_last_member": Refused("To its end (RFC 9110 section 5.6.1).", 400, coded(b" chunked,")),
        "chunked_twice": Refused("Chunks are not chunked (RFC 9112 section 7.1).", 400, coded(b" chunked, chunked")),
        "chunked_in_two_fields": Refused(
            "In two fields neither (RFC 9112 section 7.1).",
            400,
            post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        ),
        "chunked_and_identity": Refused(
            "Nor undone again (RFC 9112 section 6.3).",
            400,
            post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
        ),
        "quoted_chunked": Refused("It is a token (RFC 9112 section 7).", 400, coded(b' "chunked"')),
        "chunked_with_a_parameter": Refused("Without parameters (RFC 9112 section 7.1).", 400, coded(b" chunked;q=1")),
        "prefixed_chunked": Refused("And this one (RFC 9112 section 7).", 400, coded(b" xchunked")),
        "suffixed_chunked": Refused("Exactly (RFC 9112 section 7).", 400, coded(b" chunkedx")),
        "split_chunked": Refused("In one piece (RFC 9112 section 7).", 400, coded(b" chun ked")),
        "vertical_tab_chunked": Refused(
            "A vertical tab is no space (RFC 9110 section 5.6.3).", 400, coded(b" \x0bchunked")
        ),
        "nul_chunked": Refused("Nor is NUL (RFC 9110 section 5.5).", 400, coded(b" chunked\0")),
        "folded_chunked": Refused("A line is a line (RFC 9112 section 5.2).", 400, coded(b"\r\n chunked")),
        "chunked_with_a_space_before_the_colon": Refused(
            "A field is spelled without spaces (RFC 9112 section 5.1).", 400, post(b"Transfer-Encoding : chunked")
        ),
        "chunked_in_an_underscored_field": Accepted(
            "What only looks like it says nothing, and is not passed on (RFC 9110 section 5.1).",
            post(b"Transfer_Encoding: chunked"),
            ({"body": b"", "transfer_encoding": None, "transfer-encoding": None},),
        ),
    }


@each_a_test
class ChunkTests(ShapeCase):
    """RFC 9112 section 7.1."""

    shapes: Mapping[str, Shape] = {
        "several": Accepted(
            "Chunks make one body (RFC 9112 section 7.1).",
            coded(b"chunked", b"1\r\nh\r\n0003\r\nell\r\n1\r\no\r\n000\r\n\r\n"),
            (HELLO,),
        ),
        "extended": Accepted(
            "What nobody knows about a chunk is left out (RFC 9112 section 7.1.1).",
            coded(b"chunked", b'5;a;b=c;d="e; \\" f"\r\nhello\r\n0;x=y\r\n\r\n'),
            (HELLO,),
        ),
        "with_a_trailer": Accepted(
            "A trailer ends here: it becomes nobody's header (RFC 9110 section 6.5.1).",
            coded(b"chunked", b"5\r\nhello\r\n0\r\nX-T: y\r\nAuthorization: z\r\n\r\n") + GOOD,
            ({**HELLO, "x-t": None}, {"target": "/good", "x-t": None, "authorization": None}),
        ),
        "line_ends_within": Accepted(
            "A body may hold anything (RFC 9112 section 7.1).",
            coded(b"chunked", b"9\r\n0\r\n\r\n\r\n\r\n\r\n0\r\n\r\n"),
            ({"body": b"0\r\n\r\n\r\n\r\n"},),
        ),
        # Sizes.
        "no_size": Refused("A chunk has a size (RFC 9112 section 7.1).", 400, sizes(b"")),
        "positive_size": Refused("Without a sign (RFC 9112 section 7.1).", 400, sizes(b"+5")),
        "negative_size": Refused("Neither sign (RFC 9112 section 7.1).", 400, sizes(b"-5")),
        "prefixed_size": Refused("Without 0x (RFC 9112 section 7.1).", 400, sizes(b"0x5")),
        "space_before_the_size": Refused("Without a space (RFC 9112 section 7.1).", 400, sizes(b" 5")),
        "space_after_the_size": Refused("On either side (RFC 9112 section 7.1).", 400, sizes(b"5 ")),
        "tab_after_the_size": Refused("Nor a tab (RFC 9112 section 7.1).", 400, sizes(b"5\t")),
        "no_digit": Refused("Of hexadecimal digits (RFC 9112 section 7.1).", 400, sizes(b"g")),
        "underscored_size": Refused("And nothing else (RFC 9112 section 7.1).", 400, sizes(b"0_5")),
        "overflowing_size": Refused("That fit (RFC 9112 section 7.1).", 400, sizes(b"10000000000000005")),
        "huge_size": Refused("No matter how many (RFC 9112 section 7.1).", 400, sizes(b"f" * 100)),
        "padded_size": Refused("Nor zeros without end (RFC 9112 section 7.1).", 400, sizes(b"0" * 100 + b"5")),
        "nul_size": Refused("Nor NUL (RFC 9112 section 7.1).", 400, sizes(b"5\0")),
        # Line ends.
        "lf_after_the_size": Refused(
            "A size ends with CRLF (RFC 9112 section 2.2).", 400, chunks(b"5\nhello\r\n0\r\n\r\n")
        ),
        "cr_after_the_size": Refused("Not with CR (RFC 9112 section 2.2).", 400, chunks(b"5\rhello\r\n0\r\n\r\n")),
        "lf_after_the_data": Refused(
            "Nor do data end so (RFC 9112 section 7.1).", 400, chunks(b"5\r\nhello\n0\r\n\r\n")
        ),
        "cr_after_the_data": Refused("Nor so (RFC 9112 section 7.1).", 400, chunks(b"5\r\nhello\r0\r\n\r\n")),
        "nothing_after_the_data": Refused("Nor at once (RFC 9112 section 7.1).", 400, chunks(b"5\r\nhello0\r\n\r\n")),
        "longer_than_it_says": Refused("Nor later (RFC 9112 section 7.1).", 400, chunks(b"5\r\nhello!\r\n0\r\n\r\n")),
        "lf_after_the_last": Refused("The last one ends so, too (RFC 9112 section 7.1).", 400, chunks(b"0\n\r\n")),
        "lf_for_the_end": Refused("And the body (RFC 9112 section 7.1).", 400, chunks(b"0\r\n\nX")),
        "cr_for_the_end": Refused("And only so (RFC 9112 section 7.1).", 400, chunks(b"0\r\n\rX")),
        "negative_last": Refused("The last has a size of zeros (RFC 9112 section 7.1).", 400, chunks(b"-0\r\n\r\n")),
        # Extensions.
        "no_extension": Refused("An extension has a name (RFC 9112 section 7.1.1).", 400, sizes(b"5;")),
        "nameless_extension": Refused("Before its value (RFC 9112 section 7.1.1).", 400, sizes(b"5;=a")),
        "no_value": Refused("And a value behind the sign (RFC 9112 section 7.1.1).", 400, sizes(b"5;a=")),
        "space_in_an_extension": Refused("Without spaces (RFC 9112 section 7.1.1).", 400, sizes(b"5; a")),
        "space_before_an_extension": Refused("On any side (RFC 9112 section 7.1.1).", 400, sizes(b"5 ;a")),
        "open_quote": Refused("Quotes close (RFC 9110 section 5.6.4).", 400, sizes(b'5;a="b')),
        "line_end_in_quotes": Refused("In the same line (RFC 9110 section 5.6.4).", 400, sizes(b'5;a="\r\n"')),
        "lf_in_quotes": Refused("There is no LF in them (RFC 9110 section 5.6.4).", 400, sizes(b'5;a="\n"')),
        "lf_in_an_extension": Refused("Nor outside (RFC 9112 section 2.2).", 400, sizes(b"5;a\nb")),
        "cr_in_an_extension": Refused("Nor a CR (RFC 9112 section 2.2).", 400, sizes(b"5;a\rb")),
        "nul_in_an_extension": Refused("Nor a NUL (RFC 9112 section 7.1.1).", 400, sizes(b"5;a\0")),
        "control_in_quotes": Refused("Nor a control character (RFC 9110 section 5.6.4).", 400, sizes(b'5;a="\x01"')),
        "long_extension": Refused(
            "Nor any number of others (RFC 9112 section 7.1.1).", 400, sizes(b"5;" + b"a" * 2000)
        ),
        "endless_extension": Refused(
            "Whether or not there is an end (RFC 9112 section 7.1.1).", 400, coded(b"chunked", b"5;" + b"a" * 2000)
        ),
        # Trailers.
        "trailer_with_a_length": Refused(
            "A trailer does not say how long the body was (RFC 9110 section 6.5.1).",
            400,
            chunks(b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"),
        ),
        "trailer_with_a_coding": Refused(
            "Nor how it was coded (RFC 9110 section 6.5.1).",
            400,
            chunks(b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ),
        "trailer_with_a_host": Refused(
            "Nor whom it was for (RFC 9110 section 6.5.1).", 400, chunks(b"5\r\nhello\r\n0\r\nHost: b\r\n\r\n")
        ),
        "trailer_with_a_bad_name": Refused(
            "Its fields are fields (RFC 9112 section 7.1.2).", 400, chunks(b"5\r\nhello\r\n0\r\nX : y\r\n\r\n")
        ),
        "trailer_without_a_colon": Refused(
            "With a colon (RFC 9112 section 7.1.2).", 400, chunks(b"5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n")
        ),
        "folded_trailer": Refused(
            "In a line each (RFC 9112 section 5.2).", 400, chunks(b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n")
        ),
        "trailer_with_nul": Refused(
            "Of text (RFC 9110 section 5.5).", 400, chunks(b"5\r\nhello\r\n0\r\nX: \0\r\n\r\n")
        ),
        "trailer_with_lf": Refused(
            "With line ends (RFC 9112 section 2.2).", 400, chunks(b"5\r\nhello\r\n0\r\nX: y\n\r\n")
        ),
        "many_trailers": Refused(
            "Their number is limited (RFC 6585 section 5).",
            431,
            chunks(b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 65 + b"\r\n"),
        ),
        "large_trailer": Refused(
            "And their size (RFC 6585 section 5).",
            431,
            chunks(b"5\r\nhello\r\n0\r\nX: " + b"y" * 17000 + b"\r\n\r\n"),
        ),
        "endless_trailer": Refused(
            "Whether or not there is an end (RFC 6585 section 5).",
            431,
            coded(b"chunked", b"5\r\nhello\r\n0\r\nX: " + b"y" * 17000),
        ),
        "too_large": Refused(
            "A body that has become too large is read no further (RFC 9110 section 15.5.14).",
            413,
            coded(b"chunked", b"9c40\r\n" + b"x" * 40000 + b"\r\n"),
            begun=True,
            later=b"ffff\r\n" + b"x" * 65535 + b"\r\n0\r\n\r\n",
        ),
        "broken_later": Refused(
            "What the worker has begun to read is cut off when the rest is malformed (RFC 9112 section 8).",
            400,
            coded(b"chunked", b"5\r\nhello\r\n"),
            begun=True,
            later=b"5 \r\nworld\r\n0\r\n\r\n" + SMUGGLED,
        ),
    }
