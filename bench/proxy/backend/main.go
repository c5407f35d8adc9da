// The worker behind every proxy that is measured. It costs as little as it can, so that what is measured is the proxy:
// a goroutine for each connection, a read and a write for each request, no net/http.
//
// It knows GET /bench ("hello world"), GET /health, and a WebSocket at /ws that answers one small frame and is held.
package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"log"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// A longer head is none that a proxy of ours sends.
const headBytesMax = 16 << 10

// RFC 6455 section 1.3: what a server appends to the key.
const webSocketID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

var (
	headEnd  = []byte("\r\n\r\n")
	closing  = []byte("onnection: close\r\n") // as every proxy here writes it; reading all fields would cost more
	hello    atomic.Pointer[[]byte]
	healthy  = response("200 OK", "ok\n", "")
	notFound = response("404 Not Found", "", "")
)

func main() {
	log.SetFlags(0)
	address := net.JoinHostPort("127.0.0.1", os.Getenv("WORKER_PORT"))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	dated()
	go func() {
		for range time.Tick(time.Second) {
			dated()
		}
	}()
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Print(err)
			time.Sleep(10 * time.Millisecond) // out of descriptors: the next try may find one
			continue
		}
		go serve(connection)
	}
}

// dated renews the answer, whose Date turns each second.
func dated() {
	now := time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	made := response("200 OK", "hello world", "Date: "+now+"\r\n")
	hello.Store(&made)
}

func response(status, body, fields string) []byte {
	return []byte("HTTP/1.1 " + status + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n" + fields + "\r\n" + body)
}

// serve answers the requests of one connection, which have no bodies.
func serve(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, 4<<10)
	filled := 0
	for {
		end := bytes.Index(buffer[:filled], headEnd)
		if end < 0 {
			if filled == len(buffer) {
				if filled >= headBytesMax {
					return
				}
				buffer = append(buffer, make([]byte, len(buffer))...)
			}
			n, err := connection.Read(buffer[filled:])
			if err != nil {
				return
			}
			filled += n
			continue
		}
		head := buffer[:end+len(headEnd)]
		var answer []byte
		switch path := target(head); {
		case bytes.Equal(path, []byte("/bench")):
			answer = *hello.Load()
		case bytes.Equal(path, []byte("/health")):
			answer = healthy
		case bytes.Equal(path, []byte("/ws")):
			hold(connection, head)
			return
		default:
			answer = notFound
		}
		if _, err := connection.Write(answer); err != nil {
			return
		}
		if bytes.HasSuffix(line(head), []byte("HTTP/1.0")) || bytes.Contains(head, closing) {
			return
		}
		filled = copy(buffer, buffer[len(head):filled])
	}
}

// line is the request line, without its end.
func line(head []byte) []byte {
	first, _, _ := bytes.Cut(head, []byte("\r\n"))
	return first
}

func target(head []byte) []byte {
	_, rest, _ := bytes.Cut(line(head), []byte(" "))
	path, _, _ := bytes.Cut(rest, []byte(" "))
	return path
}

// field is the value of a header field; its name is given in lower case.
func field(head []byte, name string) []byte {
	for _, one := range bytes.Split(head, []byte("\r\n"))[1:] {
		found, value, _ := bytes.Cut(one, []byte(":"))
		if len(found) == len(name) && string(bytes.ToLower(found)) == name {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}

// hold opens a WebSocket, sends back the first frame (masked, and shorter than 126 bytes) and then waits for the end.
func hold(connection net.Conn, head []byte) {
	key := field(head, "sec-websocket-key")
	if len(key) == 0 || string(bytes.ToLower(field(head, "upgrade"))) != "websocket" {
		connection.Write(response("426 Upgrade Required", "", "Upgrade: websocket\r\n"))
		return
	}
	sum := sha1.Sum([]byte(string(key) + webSocketID))
	_, err := connection.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"))
	if err != nil {
		return
	}
	frame := make([]byte, 0, 6+125)
	for len(frame) < 2 || len(frame) < 6+int(frame[1]&0x7f) {
		if len(frame) == cap(frame) {
			return
		}
		n, err := connection.Read(frame[len(frame):cap(frame)])
		if err != nil {
			return
		}
		frame = frame[:len(frame)+n]
	}
	if frame[1]&0x80 == 0 || frame[1]&0x7f > 125 {
		return
	}
	mask, payload := frame[2:6], frame[6:]
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	if _, err := connection.Write(append([]byte{frame[0], frame[1] & 0x7f}, payload...)); err != nil {
		return
	}
	for {
		if _, err := connection.Read(frame[:1]); err != nil {
			return
		}
	}
}
