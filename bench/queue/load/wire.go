package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

const bufferBytes = 256 << 10

// wire is a connection: what is to be written, and what is read.
type wire struct {
	net.Conn
	in  *bufio.Reader
	out []byte
}

func dial(address string) (*wire, error) {
	connection, err := net.DialTimeout("tcp", address, silence)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: connection, in: bufio.NewReaderSize(connection, bufferBytes)}, nil
}

func (w *wire) close() { w.Close() }

// flush writes what was gathered.
func (w *wire) flush() error {
	w.SetDeadline(time.Now().Add(silence))
	_, err := w.Write(w.out)
	w.out = w.out[:0]
	return err
}

// line reads a line, without its end. It is valid until the next call.
func (w *wire) line() ([]byte, error) {
	text, err := w.in.ReadSlice('\n')
	return bytes.TrimRight(text, "\r\n"), err
}

// exactly reads so many bytes into memory of their own, and the CRLF after them if there is one.
func (w *wire) exactly(count int, crlf bool) ([]byte, error) {
	size := count
	if crlf {
		size += 2
	}
	data := make([]byte, size)
	_, err := io.ReadFull(w.in, data)
	return data[:count], err
}

// ask adds a request of HTTP to what is to be written.
func (w *wire) ask(method, path string, body []byte) {
	w.out = fmt.Appendf(w.out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", method, path)
	if body != nil {
		w.out = fmt.Appendf(w.out, "Content-Length: %d\r\n", len(body))
	}
	w.out = append(append(w.out, "\r\n"...), body...)
}

var contentLength = []byte("content-length:")

// answer reads a response of HTTP, which has to say how long it is.
func (w *wire) answer() (status int, body []byte, err error) {
	text, err := w.line()
	if err != nil {
		return 0, nil, err
	}
	if !bytes.HasPrefix(text, []byte("HTTP/1.1 ")) || len(text) < 12 {
		return 0, nil, fmt.Errorf("no answer: %q", text)
	}
	if status, err = strconv.Atoi(string(text[9:12])); err != nil {
		return 0, nil, err
	}
	length := -1
	for {
		if text, err = w.line(); err != nil {
			return 0, nil, err
		}
		if len(text) == 0 {
			break
		}
		if len(text) > len(contentLength) && bytes.EqualFold(text[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(text[len(contentLength):]))); err != nil {
				return 0, nil, err
			}
		}
	}
	if status == 204 {
		return status, nil, nil
	}
	if length < 0 {
		return 0, nil, fmt.Errorf("an answer with status %d does not say how long it is", status)
	}
	body, err = w.exactly(length, false)
	return status, body, err
}

// one asks for one thing, which has to be answered with one of these.
func (w *wire) one(method, path string, body []byte, statuses ...int) ([]byte, error) {
	w.ask(method, path, body)
	if err := w.flush(); err != nil {
		return nil, err
	}
	return w.expect(method, path, statuses...)
}

func (w *wire) expect(method, path string, statuses ...int) ([]byte, error) {
	status, body, err := w.answer()
	if err != nil {
		return nil, err
	}
	for _, wanted := range statuses {
		if status == wanted {
			return body, nil
		}
	}
	return nil, fmt.Errorf("%s %s was answered with %d: %.200s", method, path, status, body)
}
