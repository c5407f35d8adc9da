// The worker behind every proxy that is measured: a program of net/http, as people write them.
//
// It knows GET /bench ("hello world"), GET /health, and a WebSocket at /ws that sends small frames back.
package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
)

// RFC 6455 section 1.3: what a server appends to the key.
const webSocketID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

func main() {
	log.SetFlags(0)
	http.HandleFunc("GET /bench", answer("hello world"))
	http.HandleFunc("GET /health", answer("ok\n"))
	http.HandleFunc("GET /ws", hold)
	log.Fatal(http.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv("WORKER_PORT")), nil))
}

func answer(text string) http.HandlerFunc {
	body := []byte(text)
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write(body)
	}
}

// hold opens a WebSocket and sends back what comes (frames that are masked, and shorter than 126 bytes), to the end.
func hold(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if key == "" || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	connection, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	sum := sha1.Sum([]byte(key + webSocketID))
	buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n")
	if buffered.Flush() != nil {
		return
	}
	for echo(buffered) {
	}
}

func echo(buffered *bufio.ReadWriter) bool {
	frame := make([]byte, 6)
	if _, err := io.ReadFull(buffered, frame); err != nil || frame[1]&0x80 == 0 || frame[1]&0x7f > 125 {
		return false
	}
	payload := make([]byte, frame[1]&0x7f)
	if _, err := io.ReadFull(buffered, payload); err != nil {
		return false
	}
	for i := range payload {
		payload[i] ^= frame[2+i%4]
	}
	buffered.Write(append([]byte{frame[0], frame[1] & 0x7f}, payload...))
	return buffered.Flush() == nil
}
