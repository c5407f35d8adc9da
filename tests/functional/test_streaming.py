"""Bodies of any size pass through a real server in both directions, at the pace of the slower side."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
import zlib
from itertools import pairwise

from bench.wire import Lost
from tests.functional.running import Running, RunningCase
from tests.functional.streams import MIB, Stream, memory_bytes, needs

GIB = 1024 * MIB

FRONT_BYTES_MAX = 150 * MIB
"""Resident memory of a front, whatever passes through it."""

SLOW_CLIENTS = 20

SLOW_BYTES_S = 1_000_000

GO_SOURCE = r"""
package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

var written, read, left atomic.Int64

func number(r *http.Request, name string) int64 {
	value, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	return value
}

func main() {
	http.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {})
	http.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		sum := crc32.NewIEEE()
		length, err := io.Copy(sum, io.TeeReader(r.Body, counting{}))
		if err != nil {
			left.Add(1)
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%d %08x", length, sum.Sum32())
	})
	http.HandleFunc("/sip", func(w http.ResponseWriter, r *http.Request) {
		buffer := make([]byte, 65536)
		for {
			n, err := io.ReadFull(r.Body, buffer)
			read.Add(int64(n))
			if err != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	http.HandleFunc("/download", func(w http.ResponseWriter, r *http.Request) {
		rest := number(r, "bytes")
		w.Header().Set("Content-Length", strconv.FormatInt(rest, 10))
		block := bytes.Repeat([]byte("tqserver"), 8192)
		for rest > 0 {
			n, err := w.Write(block[:min(rest, int64(len(block)))])
			rest -= int64(n)
			written.Add(int64(n))
			if err != nil {
				left.Add(1)
				return
			}
		}
	})
	http.HandleFunc("/counts", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%d %d %d", written.Load(), read.Load(), left.Load())
	})
	http.HandleFunc("/trickle", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for line := int64(0); line < number(r, "lines"); line++ {
			fmt.Fprintf(w, "data: %d\n\n", line)
			http.NewResponseController(w).Flush()
			time.Sleep(time.Duration(number(r, "ms")) * time.Millisecond)
		}
	})
	http.HandleFunc("/status", func(w http.ResponseWriter, r *http.Request) {
		code := int(number(r, "code"))
		w.Header().Set("ETag", "\"tea\"")
		w.Header().Set("Content-Type", "text/plain")
		if code == 200 || code == 304 {
			w.Header().Set("Content-Length", "5")
		}
		w.WriteHeader(code)
		if code == 200 {
			io.WriteString(w, "hello")
		}
	})
	http.HandleFunc("/refuse", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not that much", http.StatusRequestEntityTooLarge)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("WORKER_PORT"))
	if err != nil {
		panic(err)
	}
	panic(http.Serve(listener, nil))
}

type counting struct{}

func (counting) Write(data []byte) (int, error) {
	read.Add(int64(len(data)))
	return len(data), nil
}
"""

GO_YAML = """
path: /
type: go
scaling: {max_workers: 1}
"""

PHP_YAML = """
path: /php
type: php
php:
  settings: {enable_post_data_reading: 0, post_max_size: 2G, upload_max_filesize: 2G, max_execution_time: 120}
  pool: {manager: static, max_workers: 12}
"""

PHP_SOURCE = """<?php
$sum = hash_init('crc32b');
$length = 0;
$body = fopen('php://input', 'r');
while (($data = fread($body, 65536)) !== false && $data !== '') {
    $length += strlen($data);
    hash_update($sum, $data);
}
echo $length, ' ', hash_final($sum);
"""

PHP_DOWNLOAD = """<?php
$rest = (int) $_GET['bytes'];
header("Content-Length: $rest");
while (ob_get_level()) ob_end_clean();
$block = str_repeat('tqserver', 8192);
for (; $rest > 0; $rest -= strlen($block)) {
    echo $rest < strlen($block) ? substr($block, 0, $rest) : $block;
    flush();
}
"""

WORKERS = {
    "go": {"config/worker.yaml": GO_YAML, "src/main.go": GO_SOURCE},
    "php": {"config/worker.yaml": PHP_YAML, "public/index.php": PHP_SOURCE, "public/download.php": PHP_DOWNLOAD},
}


class SlowClients:
    """
    Clients that download all the time, each at its own slow pace, in a thread.

    @ivar counts: bytes that each has got and found right.
    @ivar trouble: what was wrong.
    """

    def __init__(self, running: Running, clients: int, each_bytes: int, pace_bytes_s: float, path: str) -> None:
        self.counts = [0] * clients
        self.trouble: list[str] = []
        self._each_bytes = each_bytes
        self._pace_bytes_s = pace_bytes_s
        self._pattern = b"tqserver" * (MIB // 8 + 1)
        self._streams = []
        for _ in range(clients):
            stream = Stream(running, receive_buffer_bytes=128 * 1024)
            stream.request("GET", f"{path}?bytes={each_bytes}")
            self._streams.append(stream)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        """Take from each connection as much as its pace allows, a hundred times a second."""
        began = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for index, stream in enumerate(self._streams):
                status, fields = stream.head()
                if status != 200 or fields.get("content-length") != str(self._each_bytes):
                    self.trouble.append(f"{status} {fields}")
                selector.register(stream.socket, selectors.EVENT_READ, index)
                self._take(index, stream.some() if stream._buffer else b"")
            while selector.get_map():
                allowed = self._pace_bytes_s * (time.monotonic() - began)
                for key, _ in selector.select(1.0):
                    wanted = min(int(allowed), self._each_bytes) - self.counts[key.data]
                    if wanted <= 0:
                        continue
                    data = key.fileobj.recv(min(wanted, MIB))  # type: ignore[union-attr]
                    self._take(key.data, data)
                    if not data or self.counts[key.data] >= self._each_bytes:
                        selector.unregister(key.fileobj)
                time.sleep(0.01)
        for stream in self._streams:
            stream.close()

    def _take(self, index: int, data: bytes) -> None:
        at = self.counts[index] % 8
        if data != self._pattern[at : at + len(data)]:
            self.trouble.append(f"other bytes after {self.counts[index]}")
        self.counts[index] += len(data)

    def join(self) -> None:
        """Wait for all of them."""
        self._thread.join()


def upload(running: Running, path: str, size: int, chunked: bool = False) -> tuple[str, str]:
    """
    Send a body of random blocks.

    @return: what the worker has counted and summed up, and what it should have.
    """
    block = os.urandom(MIB)
    total = 0
    with Stream(running, timeout_s=60) as stream:
        stream.request("POST", path, "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {size}\r\n")
        for _ in range(size // MIB):
            (stream.chunk if chunked else stream.send)(block)
            total = zlib.crc32(block, total)
        if chunked:
            stream.chunk(b"")
        status, fields = stream.head()
        body = stream.body(fields).decode()
    return f"{status} {body}", f"200 {size} {total:08x}"


class StreamingCase(RunningCase):
    """A server with a worker in Go, and perhaps one in PHP."""

    def stream(self, server: str = "", php: bool = False) -> Running:
        """Start it, and wait until its workers answer."""
        needs("go")
        if php:
            needs("php")
        running = self.serve(server, WORKERS if php else {"go": WORKERS["go"]})
        self.when("Go answers", lambda: running.get("/health").status == 200, running)
        if php:
            self.when("PHP answers", lambda: running.get("/php/").status == 200, running)
        return running

    def counts(self, running: Running) -> tuple[int, int, int]:
        """What the Go worker has written and read, and how many clients left it."""
        written, read, left = map(int, running.get("/counts").body.split())
        return written, read, left

    def small(self, running: Running) -> None:
        """No front has needed much memory."""
        for pid in running.fronts():
            now, most = memory_bytes(pid)
            self.assertLess(most, FRONT_BYTES_MAX, f"front {pid}: {now} bytes now, {most} at most")


class SizeTests(StreamingCase):
    """Gigabytes, while the fronts stay small."""

    def test_gigabytes(self) -> None:
        """
        A gigabyte is uploaded to Go and to PHP, and 20 slow clients download another meanwhile: every byte
        arrives, and no front grows.
        """
        running = self.stream(php=True)
        fronts = running.fronts()
        slow = SlowClients(running, SLOW_CLIENTS, -(-GIB // SLOW_CLIENTS), SLOW_BYTES_S, "/download")
        try:
            for path, size, chunked in (
                ("/sum", GIB, False),
                ("/sum", GIB, True),
                ("/php/", GIB, False),
                ("/php/", 100 * MIB, True),
            ):
                got, wanted = upload(running, path, size, chunked)
                self.assertEqual(got, wanted, f"{path}, {'chunked' if chunked else 'with a length'}")
                self.small(running)
        finally:
            slow.join()
        self.assertEqual(slow.trouble, [])
        self.assertEqual(slow.counts, [-(-GIB // SLOW_CLIENTS)] * SLOW_CLIENTS)
        self.small(running)
        self.assertEqual(running.fronts(), fronts)

    def test_php_download(self) -> None:
        """PHP sends a large answer to a slow client, which gets it whole."""
        running = self.stream(php=True)
        slow = SlowClients(running, 3, 30 * MIB, 20_000_000, "/php/download.php")
        slow.join()
        self.assertEqual((slow.trouble, slow.counts), ([], [30 * MIB] * 3))
        self.small(running)


class PaceTests(StreamingCase):
    """The faster side waits for the slower one, and does not wait for one that has left."""

    def test_slow_reader(self) -> None:
        """A worker that is faster than the client is slowed down: it cannot write what nobody takes."""
        running = self.stream()
        with Stream(running, receive_buffer_bytes=64 * 1024) as stream:
            stream.request("GET", f"/download?bytes={GIB}")
            self.assertEqual(stream.head()[0], 200)
            self.settled(lambda: self.counts(running)[0], running)
            written = self.counts(running)[0]
            self.assertGreater(written, 0)
            self.assertLess(written, 32 * MIB)
            for _ in range(64):
                stream.exactly(MIB)
            self.when("it goes on", lambda: self.counts(running)[0] > 64 * MIB, running)
            self.assertLess(self.counts(running)[0], 96 * MIB)
        self.small(running)

    def test_slow_worker(self) -> None:
        """A client that is faster than the worker is slowed down: the front keeps no more than a little."""
        running = self.stream()
        sent = 0
        with Stream(running) as stream:
            stream.request("POST", "/sip", f"Content-Length: {GIB}\r\n")
            stream.socket.setblocking(False)
            block, end = b"x" * MIB, time.monotonic() + 1.0
            while time.monotonic() < end:
                try:
                    sent += stream.socket.send(block)
                except BlockingIOError:
                    time.sleep(0.01)
            read = self.counts(running)[1]
            self.assertGreater(read, 0)
            self.assertLess(sent - read, 32 * MIB)
        self.small(running)

    def settled(self, value: object, running: Running) -> None:
        """Wait until a number changes no more."""
        seen = [-1.0, 0.0]

        def same() -> bool:
            now = value()  # type: ignore[operator]
            if now != seen[0]:
                seen[:] = [now, time.monotonic()]
            return time.monotonic() - seen[1] > 0.3

        self.when("it stands still", same, running)

    def test_leaves_download(self) -> None:
        """A client that leaves in the middle of a download: the worker notices at once, and stops writing."""
        running = self.stream()
        with Stream(running) as stream:
            stream.request("GET", f"/download?bytes={GIB}")
            stream.exactly(10 * MIB)
        took = self.when("the worker knows", lambda: self.counts(running)[2] == 1, running)
        self.assertLess(took, 2.0)
        self.assertLess(self.counts(running)[0], 64 * MIB)
        self.when("it is counted no more", lambda: running.instances("go")[0]["in_flight"] == 0, running)
        # One that took nothing when it left, so that nothing could be written to it.
        with Stream(running, receive_buffer_bytes=64 * 1024) as stream:
            stream.request("GET", f"/download?bytes={GIB}")
            stream.head()
            self.settled(lambda: self.counts(running)[0], running)
        took = self.when("the worker knows", lambda: self.counts(running)[2] == 2, running)
        self.assertLess(took, 2.0)
        # One that will send no more.
        with Stream(running) as stream:
            stream.request("GET", f"/download?bytes={GIB}")
            stream.exactly(MIB)
            stream.socket.shutdown(socket.SHUT_WR)
            self.when("the worker is free", lambda: self.counts(running)[2] == 3, running)

    def test_leaves_upload(self) -> None:
        """A client that leaves in the middle of an upload: the worker sees a cut body at once, never a whole one."""
        running = self.stream()
        for headers in (f"Content-Length: {GIB}\r\n", "Transfer-Encoding: chunked\r\n"):
            left = self.counts(running)[2]
            with Stream(running) as stream:
                stream.request("POST", "/sum", headers)
                stream.send(b"100000\r\n" if "chunked" in headers else b"")
                stream.send(b"x" * MIB + (b"\r\n" if "chunked" in headers else b""))
                self.when("the worker reads", lambda: self.counts(running)[1] >= MIB, running)
            took = self.when("the worker knows", lambda left=left: self.counts(running)[2] == left + 1, running)  # type: ignore[misc]
            self.assertLess(took, 2.0)

    def test_trickle(self) -> None:
        """Events arrive one by one, as they are sent, and their stream outlives every timeout of the server."""
        running = self.stream("read_timeout_seconds: 0.5\nwrite_timeout_seconds: 0.5\nrequest_timeout_seconds: 0.5\n")
        with Stream(running) as stream:
            stream.request("GET", "/trickle?lines=6&ms=400")
            status, fields = stream.head()
            self.assertEqual((status, fields["content-type"]), (200, "text/event-stream"))
            times = []
            for line in range(6):
                self.assertEqual(stream.chunked(), b"data: %d\n\n" % line)
                times.append(time.monotonic())
            self.assertEqual(stream.chunked(), b"")
        gaps = [after - before for before, after in pairwise(times)]
        self.assertGreater(min(gaps), 0.1, gaps)

    def test_slow_upload(self) -> None:
        """An upload that goes on all the time may take longer than any timeout; one that falls silent is 408."""
        running = self.stream("read_timeout_seconds: 0.5\nrequest_timeout_seconds: 0.5\n")
        with Stream(running) as stream:
            stream.request("POST", "/sum", "Content-Length: 12\r\n")
            for _ in range(6):
                stream.send(b"ab")
                time.sleep(0.25)
            status, fields = stream.head()
            self.assertEqual((status, stream.body(fields)[:3]), (200, b"12 "))
            stream.request("POST", "/sum", "Content-Length: 12\r\n")
            stream.send(b"ab")
            self.assertEqual(stream.head()[0], 408)

    def test_stuck_reader(self) -> None:
        """A client that takes nothing at all for longer than the limit is cut, and the worker is free again."""
        running = self.stream("write_timeout_seconds: 0.5\n")
        with Stream(running, receive_buffer_bytes=64 * 1024) as stream:
            stream.request("GET", f"/download?bytes={GIB}")
            self.when("it is cut", lambda: self.counts(running)[2] == 1, running, limit_s=5.0)
            with self.assertRaises((Lost, OSError)):
                while stream.some():
                    pass


class SemanticsTests(StreamingCase):
    """What a client may expect of heads and bodies."""

    def test_continue(self) -> None:
        """Who asks before sending a body is told to go on, and then answered; who asks in vain is refused at once."""
        running = self.stream("max_body_bytes: 1MiB\n")
        with Stream(running) as stream:
            for _ in range(2):
                stream.request("POST", "/sum", "Content-Length: 5\r\nExpect: 100-continue\r\n")
                self.assertEqual(stream.head()[0], 100)
                stream.send(b"hello")
                status, fields = stream.head()
                self.assertEqual((status, stream.body(fields)), (200, b"5 3610a686"))
            stream.request("POST", "/sum", f"Content-Length: {2 * MIB}\r\nExpect: 100-continue\r\n")
            status, fields = stream.head()
            self.assertEqual(status, 413)
            stream.body(fields)
            self.assertTrue(stream.at_end())
        with Stream(running) as stream:
            stream.request("POST", "/sum", "Content-Length: 5\r\nExpect: something-else\r\n")
            self.assertEqual(stream.head()[0], 417)

    def test_no_body(self) -> None:
        """HEAD, 204 and 304 have heads and no bodies, and the connection goes on with the next request."""
        running = self.stream()
        with Stream(running) as stream:
            for _ in range(2):
                for method, code, length in (
                    ("HEAD", 200, "5"),
                    ("GET", 204, None),
                    ("GET", 304, None),  # Go leaves the length out
                    ("HEAD", 204, None),
                    ("HEAD", 304, None),
                ):
                    stream.request(method, f"/status?code={code}")
                    status, fields = stream.head()
                    self.assertEqual(status, code)
                    self.assertEqual(fields["etag"], '"tea"')
                    self.assertEqual(fields.get("content-length"), length, f"{method} {code}")
                    self.assertNotIn("transfer-encoding", fields)
                stream.request("GET", "/status?code=200")
                self.assertEqual(stream.body(stream.head()[1]), b"hello")

    def test_too_large(self) -> None:
        """
        Too large a body is refused as early as that is known, with an answer that the client can read though it
        had already begun, or finished, to send; with a page if it is a browser's.
        """
        running = self.stream("max_body_bytes: 2MiB\n")
        for headers in (f"Content-Length: {3 * MIB}\r\n", "Transfer-Encoding: chunked\r\n"):
            with Stream(running) as stream:
                stream.request("POST", "/sum", headers + "Accept: text/html\r\n")
                for _ in range(3):
                    (stream.chunk if "chunked" in headers else stream.send)(b"x" * MIB)
                status, fields = stream.head()
                self.assertEqual(status, 413, headers)
                self.assertIn("text/html", fields["content-type"], headers)
                self.assertIn(b"413", stream.body(fields))
        self.assertEqual(running.ask("POST", "/sum", b"x" * (2 * MIB)).status, 200)
        # A worker may refuse a large upload early, too: the client gets its answer, not ours, and not a reset.
        for _ in range(5):
            with Stream(running) as stream:
                stream.request("POST", "/refuse", f"Content-Length: {2 * MIB}\r\n")
                stream.send(b"x" * MIB)
                status, fields = stream.head()
                self.assertEqual((status, stream.body(fields)), (413, b"not that much\n"))
