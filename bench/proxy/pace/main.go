// Requests at a constant rate, on a fixed schedule that waits for nobody: a request that is due is sent when it is due,
// or as soon as a connection is free, and its latency counts from the moment when it was due. So a proxy that stops for
// a while has all the requests to answer for that came due meanwhile.
//
// One thread, one epoll, and a clock that is exact to microseconds: Go's own timers are exact to a millisecond.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

const (
	// epoll_pwait2(2), on all architectures; Linux 5.11.
	sysEpollPwait2 = 441
	// prctl(2): by default the kernel may wake a thread 50 µs late.
	prSetTimerSlack = 29
	// Longest wait for what is under way when the time is over.
	lastWait = 5 * time.Second
	// Before this, nothing is recorded: connections and caches are cold.
	warmUp = 250 * time.Millisecond
	// Of a response's head; what is asked for has far smaller ones.
	headBytesMax = 8 << 10
)

var (
	headEnd   = []byte("\r\n\r\n")
	statusOK  = []byte("HTTP/1.1 200 ")
	lengthKey = []byte("\r\ncontent-length:")
)

// connection is one kept connection and the response that is under way on it.
type connection struct {
	fd       int
	busy     bool
	due      time.Duration
	received []byte
}

type result struct {
	Answered int     `json:"answered"`
	Bytes    int64   `json:"bytes"`
	Seconds  float64 `json:"seconds"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Longest  float64 `json:"longest_us"`
	Trouble  string  `json:"trouble"`
}

type pace struct {
	epoll     int
	all       map[int32]*connection
	free      []*connection
	request   []byte
	bodyBytes int
	began     time.Time
	latencies []time.Duration
	chunk     [32 << 10]byte
	result    result
}

func main() {
	log.SetFlags(0)
	address := flag.String("address", "", "address and port")
	path := flag.String("path", "/", "what to ask for")
	rate := flag.Float64("rate", 1000, "requests per second")
	seconds := flag.Float64("seconds", 1, "how long")
	connections := flag.Int("connections", 32, "that are kept")
	body := flag.Int("body", 0, "bytes of the body of each response")
	flag.Parse()
	to, err := netip.ParseAddrPort(*address)
	if err != nil || !to.Addr().Is4() || *rate <= 0 {
		log.Fatalf("an IPv4 address with port, and a rate: %q, %g", *address, *rate)
	}

	runtime.LockOSThread()
	debug.SetGCPercent(-1) // a run allocates little, and a collection would be in the figures
	syscall.Syscall(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0)

	p := &pace{all: map[int32]*connection{}, bodyBytes: *body}
	p.request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", *path, *address)
	p.latencies = make([]time.Duration, 0, int(*rate**seconds)+1)
	if err := p.connect(to, *connections); err != nil {
		log.Fatal(err)
	}
	if err := p.run(*rate, time.Duration(*seconds*float64(time.Second))); err != nil {
		p.result.Trouble = err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(p.summary())
}

func (p *pace) connect(to netip.AddrPort, count int) (err error) {
	if p.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return err
	}
	for range count {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		if err := errors.Join(
			syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
			syscall.SetNonblock(fd, true),
			syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}),
		); err != nil {
			return err
		}
		one := &connection{fd: fd}
		p.all[int32(fd)] = one
		p.free = append(p.free, one)
	}
	return nil
}

// run sends what is due and reads what has come, until all that was due in time is answered.
func (p *pace) run(rate float64, length time.Duration) error {
	total := int(rate * length.Seconds())
	due := func(number int) time.Duration { return time.Duration(float64(number) / rate * float64(time.Second)) }
	events := make([]syscall.EpollEvent, len(p.all))
	answered := 0
	p.began = time.Now()
	for sent := 0; answered < total; {
		now := time.Since(p.began)
		if now > length+lastWait {
			return fmt.Errorf("%d of %d requests are not answered", total-answered, total)
		}
		for sent < total && len(p.free) > 0 && due(sent) <= now {
			one := p.free[0]
			p.free = p.free[1:]
			one.busy, one.due = true, due(sent)
			if n, err := syscall.Write(one.fd, p.request); err != nil || n != len(p.request) {
				return fmt.Errorf("writing a request: %d bytes, %v", n, err)
			}
			sent++
		}
		wait := lastWait
		if sent < total && len(p.free) > 0 {
			wait = max(0, due(sent)-time.Since(p.began))
		}
		count, err := p.wait(events, wait)
		if err != nil {
			return err
		}
		for _, event := range events[:count] {
			one := p.all[event.Fd]
			whole, err := p.read(one)
			if err != nil {
				return err
			}
			if whole {
				answered++
				p.free = append(p.free, one)
			}
		}
	}
	p.result.Seconds = time.Since(p.began).Seconds()
	return nil
}

func (p *pace) wait(events []syscall.EpollEvent, wait time.Duration) (int, error) {
	limit := syscall.NsecToTimespec(int64(wait))
	count, _, errno := syscall.Syscall6(
		sysEpollPwait2, uintptr(p.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
		uintptr(unsafe.Pointer(&limit)), 0, 0,
	)
	if errno == syscall.EINTR {
		return 0, nil
	}
	if errno != 0 {
		return 0, fmt.Errorf("epoll_pwait2: %w", errno)
	}
	return int(count), nil
}

// read takes what has come on a connection, and tells whether a response is whole.
func (p *pace) read(one *connection) (bool, error) {
	n, err := syscall.Read(one.fd, p.chunk[:])
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return false, nil
	}
	if err != nil || n <= 0 {
		return false, fmt.Errorf("a connection ended: %v", err)
	}
	if !one.busy {
		return false, errors.New("bytes that nobody asked for")
	}
	p.result.Bytes += int64(n)
	one.received = append(one.received, p.chunk[:n]...)
	end := bytes.Index(one.received, headEnd)
	if end < 0 {
		if len(one.received) > headBytesMax {
			return false, errors.New("a head without an end")
		}
		return false, nil
	}
	head := one.received[:end+2]
	if !bytes.HasPrefix(head, statusOK) {
		line, _, _ := bytes.Cut(head, []byte("\r\n"))
		return false, fmt.Errorf("answered with %q", line)
	}
	if length := contentLength(head); length != p.bodyBytes {
		return false, fmt.Errorf("a body of %d bytes instead of %d", length, p.bodyBytes)
	}
	missing := end + len(headEnd) + p.bodyBytes - len(one.received)
	if missing < 0 {
		return false, fmt.Errorf("%d bytes too many", -missing)
	}
	if missing > 0 {
		return false, nil
	}
	p.result.Answered++
	if one.due >= warmUp {
		p.latencies = append(p.latencies, time.Since(p.began)-one.due)
	}
	one.busy, one.received = false, one.received[:0]
	return true, nil
}

// contentLength is what a head says of the body's length; -1 if it does not say.
func contentLength(head []byte) int {
	at := bytes.Index(bytes.ToLower(head), lengthKey)
	if at < 0 {
		return -1
	}
	value, _, _ := bytes.Cut(head[at+len(lengthKey):], []byte("\r\n"))
	length, err := strconv.Atoi(string(bytes.TrimSpace(value)))
	if err != nil {
		return -1
	}
	return length
}

func (p *pace) summary() result {
	slices.Sort(p.latencies)
	if count := len(p.latencies); count > 0 {
		quantile := func(share float64) float64 {
			return float64(p.latencies[min(count-1, int(share*float64(count)))].Nanoseconds()) / 1e3
		}
		p.result.P50, p.result.P99, p.result.Longest = quantile(0.5), quantile(0.99), quantile(1)
	} else if p.result.Trouble == "" {
		p.result.Trouble = "nothing was recorded"
	}
	return p.result
}
