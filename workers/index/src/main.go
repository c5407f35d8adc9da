// The start page: a Go worker that needs nothing but the standard library.
//
// A worker listens on WORKER_PORT (or on the UNIX socket WORKER_SOCKET, with "listen: unix"), answers GET /health
// with 200, keeps nothing that another instance would need, and ends on TERM.
package main

import (
	"bytes"
	"context"
	"errors"
	"html/template"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// version is what the page shows. Change it, save, and look at the browser.
const version = "1"

// A server does not close a kept connection that the proxy may be about to use: longer than any proxy keeps it.
const idleTimeout = 5 * time.Minute

// Longest wait for the requests in flight after TERM. The server has taken us out of its routing before it sends TERM.
const shutdownTimeout = 10 * time.Second

// The most that /download gives.
const downloadBytesMax = 16 << 30

var started = time.Now()

// setting is one line of the table on the page.
type setting struct {
	Name, Value string
}

// page is what views/index.html is given.
type page struct {
	Name, Route, Mode, Version, Go string
	PID                            int
	Uptime                         time.Duration
	Environment                    []setting
}

func main() {
	log.SetFlags(0) // the server writes the time before each line
	view, err := template.ParseFiles("views/index.html")
	if err != nil {
		log.Fatal(err)
	}
	listener, err := listen()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: routes(view), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: idleTimeout}

	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		<-stop.Done()
		limit, done := context.WithTimeout(context.Background(), shutdownTimeout)
		defer done()
		ended <- server.Shutdown(limit)
	}()

	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := <-ended; err != nil {
		log.Fatalf("requests were cut: %v", err)
	}
}

// listen opens the address that the server gave us. Only the loopback: clients come through the server.
func listen() (net.Listener, error) {
	if path := os.Getenv("WORKER_SOCKET"); path != "" {
		return net.Listen("unix", path)
	}
	port := os.Getenv("WORKER_PORT")
	if port == "" {
		return nil, errors.New("neither WORKER_PORT nor WORKER_SOCKET is set: this program is started by tqserver")
	}
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
}

func routes(view *template.Template) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { show(w, view) })
	mux.HandleFunc("GET /health", text("ok\n"))
	mux.HandleFunc("GET /bench", text("hello world"))
	mux.HandleFunc("GET /version", text(version))
	mux.HandleFunc("POST /echo", echo)
	mux.HandleFunc("POST /echo-length", echoLength)
	mux.HandleFunc("GET /download", download)
	return mux
}

func text(body string) http.HandlerFunc {
	length := strconv.Itoa(len(body))
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", length)
		io.WriteString(w, body)
	}
}

// show renders the page into memory first, so that a mistake in the template is a 500 and not half a page.
func show(w http.ResponseWriter, view *template.Template) {
	var body bytes.Buffer
	err := view.Execute(&body, page{
		Name:        os.Getenv("WORKER_NAME"),
		Route:       os.Getenv("WORKER_ROUTE"),
		Mode:        os.Getenv("WORKER_MODE"),
		Version:     version,
		Go:          runtime.Version(),
		PID:         os.Getpid(),
		Uptime:      time.Since(started).Round(time.Second),
		Environment: environment(),
	})
	if err != nil {
		log.Print(err)
		http.Error(w, "The page could not be made.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	body.WriteTo(w)
}

// environment lists what tqserver told this process, and nothing else that may be in its environment.
func environment() []setting {
	var told []setting
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "WORKER_") || name == "PORT" || name == "GOMAXPROCS" || name == "GOMEMLIMIT" {
			told = append(told, setting{name, value})
		}
	}
	sort.Slice(told, func(i, j int) bool { return told[i].Name < told[j].Name })
	return told
}

// echo sends the body back while it is still coming in.
func echo(w http.ResponseWriter, r *http.Request) {
	// Without this, net/http reads the rest of a body before it sends the first byte of an answer.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		http.Error(w, "Cannot stream.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	if _, err := io.Copy(w, r.Body); err != nil {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
}

// echoLength counts a body of any size without keeping it.
func echoLength(w http.ResponseWriter, r *http.Request) {
	length, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, "The body was cut.", http.StatusBadRequest)
		return
	}
	text(strconv.FormatInt(length, 10)+"\n")(w, r)
}

// download sends /download?bytes=N: as many bytes as asked for, as fast as the client takes them and no faster.
func download(w http.ResponseWriter, r *http.Request) {
	left, err := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
	if err != nil || left < 0 || left > downloadBytesMax {
		http.Error(w, "Say how many, as in /download?bytes=1000; at most 16 GiB.", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(left, 10))
	chunk := bytes.Repeat([]byte("tqserver"), 8<<10)
	for left > 0 {
		n, err := w.Write(chunk[:min(int64(len(chunk)), left)])
		if err != nil {
			return // the client left
		}
		left -= int64(n)
	}
}
