// The worker that tasks are delivered to: a program of net/http, as people write them, that counts what it was sent.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// counts is what was sent since the last reset.
type counts struct {
	Requests int     `json:"requests"`
	Tasks    int     `json:"tasks"` // with different X-Task-Id
	Seconds  float64 `json:"seconds"`
}

var (
	lock        sync.Mutex
	requests    int
	tasks       = map[string]struct{}{}
	first, last time.Time
)

func main() {
	log.SetFlags(0)
	http.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok\n")) })
	http.HandleFunc("POST /run", run)
	http.HandleFunc("GET /counts", show)
	http.HandleFunc("POST /reset", reset)
	log.Fatal(http.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv("WORKER_PORT")), nil))
}

func run(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, "The body was cut.", http.StatusBadRequest)
		return
	}
	id := r.Header.Get("X-Task-Id")
	lock.Lock()
	last = time.Now()
	if requests == 0 {
		first = last
	}
	requests++
	if id != "" {
		tasks[id] = struct{}{}
	}
	lock.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("done"))
}

func show(w http.ResponseWriter, r *http.Request) {
	lock.Lock()
	defer lock.Unlock()
	json.NewEncoder(w).Encode(counts{requests, len(tasks), last.Sub(first).Seconds()})
}

func reset(w http.ResponseWriter, r *http.Request) {
	lock.Lock()
	defer lock.Unlock()
	requests, tasks = 0, map[string]struct{}{}
	w.Write([]byte("ok\n"))
}
