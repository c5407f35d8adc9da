// The load on queues: clients that put, get and end messages, over sockets of their own, and count what was confirmed.
//
// Each client is a goroutine with one connection. It writes what it asks for in one write, however many commands that
// are, and reads the answers; requests and answers are made and taken apart by hand, so that this program takes a small
// part of what the servers take.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// Longest silence of a server that was asked for something.
	silence = 90 * time.Second
	// Beyond the time that was given for what is under way.
	lastWait = 60 * time.Second
)

// order is what to do.
type order struct {
	protocol, address, prefix, queue, mode string
	clients, batch, count, bodyBytes       int
	seconds                                float64
	single                                 bool
}

// result is printed at the end, as JSON. Counts are of messages.
type result struct {
	Puts    int64   `json:"puts"`
	Gets    int64   `json:"gets"`
	Dones   int64   `json:"dones"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Trouble string  `json:"trouble"`
}

// queue is a client's view of a server. What returns without an error was confirmed.
type queue interface {
	// put stores messages.
	put(bodies [][]byte) error
	// get takes up to so many, without waiting, and returns what is needed to end them. It may be valid until the
	// next call only.
	get(count int) ([][]byte, error)
	// done ends messages.
	done(taken [][]byte) error
	close()
}

// client is one of many, with its counts.
type client struct {
	queue
	order             *order
	number, made      int
	puts, gets, dones int64
	latencies         []time.Duration
	bodies            [][]byte
	ends              time.Time
	left              int
}

func main() {
	log.SetFlags(0)
	var o order
	flag.StringVar(&o.protocol, "protocol", "tqs", "tqs, zapq, beanstalk, redis")
	flag.StringVar(&o.address, "address", "", "address and port")
	flag.StringVar(&o.prefix, "prefix", "", "before every path, for HTTP")
	flag.StringVar(&o.queue, "queue", "bench", "the queue's name")
	flag.StringVar(&o.mode, "mode", "cycle", "cycle, put, get, poll")
	flag.IntVar(&o.clients, "clients", 1, "each with a connection")
	flag.IntVar(&o.batch, "batch", 1, "messages at once")
	flag.IntVar(&o.count, "count", 0, "messages in all; 0: as many as there is time for")
	flag.IntVar(&o.bodyBytes, "body", 100, "bytes of a message")
	flag.Float64Var(&o.seconds, "seconds", 1, "how long, if there is no count")
	flag.BoolVar(&o.single, "single", false, "tqs: end messages with a request for each, pipelined")
	flag.Parse()
	found, err := run(&o)
	if err != nil {
		found.Trouble = err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(found)
}

func open(o *order, number int) (queue, error) {
	switch o.protocol {
	case "tqs":
		return openTQS(o)
	case "zapq":
		return openZapQ(o)
	case "beanstalk":
		return openBeanstalk(o)
	case "redis":
		return openRedis(o, number)
	}
	return nil, fmt.Errorf("no such protocol: %q", o.protocol)
}

func run(o *order) (found result, err error) {
	if o.mode == "poll" {
		return poll(o)
	}
	work, known := map[string]func(*client) error{
		"cycle": (*client).cycle, "put": (*client).fill, "get": (*client).drain,
	}[o.mode]
	if !known {
		return found, fmt.Errorf("no such mode: %q", o.mode)
	}
	clients := make([]*client, o.clients)
	for number := range clients {
		opened, err := open(o, number)
		if err != nil {
			return found, err
		}
		defer opened.close()
		clients[number] = &client{queue: opened, order: o, number: number, left: share(o.count, o.clients, number)}
	}
	began := time.Now()
	troubles := make([]error, o.clients)
	var all sync.WaitGroup
	for number, one := range clients {
		one.ends = began.Add(time.Duration(o.seconds * float64(time.Second)))
		all.Add(1)
		go func() {
			defer all.Done()
			troubles[number] = work(one)
		}()
	}
	all.Wait()
	found.Seconds = time.Since(began).Seconds()
	var latencies []time.Duration
	for _, one := range clients {
		found.Puts, found.Gets, found.Dones = found.Puts+one.puts, found.Gets+one.gets, found.Dones+one.dones
		latencies = append(latencies, one.latencies...)
	}
	found.percentiles(latencies)
	return found, errors.Join(troubles...)
}

// share is what one of many does of a count.
func share(count, clients, number int) int {
	part := count / clients
	if number < count%clients {
		part++
	}
	return part
}

func (r *result) percentiles(latencies []time.Duration) {
	if len(latencies) == 0 {
		return
	}
	slices.Sort(latencies)
	at := func(part float64) float64 {
		return float64(latencies[int(part*float64(len(latencies)-1))]) / float64(time.Microsecond)
	}
	r.P50, r.P99 = at(.5), at(.99)
}

// more says for how many messages there is time, or how many are left.
func (c *client) more() int {
	if c.order.count > 0 {
		return min(c.order.batch, c.left)
	}
	if time.Now().After(c.ends) {
		return 0
	}
	return c.order.batch
}

// fresh makes bodies that no other message has.
func (c *client) fresh(count int) [][]byte {
	c.bodies = c.bodies[:0]
	for range count {
		c.made++
		body := fmt.Appendf(make([]byte, 0, max(c.order.bodyBytes, 32)), "%d.%d.%d.", os.Getpid(), c.number, c.made)
		for len(body) < c.order.bodyBytes {
			body = append(body, 'x')
		}
		c.bodies = append(c.bodies, body)
	}
	return c.bodies
}

// cycle puts, gets what is there, and ends it, again and again. A get may find less than was put, as other clients get
// as well; so what is left at the end is got, and ended, by whoever comes to it.
func (c *client) cycle() error {
	for count := c.more(); count > 0; count = c.more() {
		began := time.Now()
		if err := c.fillOne(count); err != nil {
			return err
		}
		if _, err := c.drainOne(count); err != nil {
			return err
		}
		c.latencies = append(c.latencies, time.Since(began))
	}
	for {
		taken, err := c.drainOne(c.order.batch)
		if err != nil || taken == 0 {
			return err
		}
		if time.Now().After(c.ends.Add(lastWait)) {
			return errors.New("the queue did not become empty")
		}
	}
}

// fill puts only.
func (c *client) fill() error {
	for count := c.more(); count > 0; count = c.more() {
		began := time.Now()
		if err := c.fillOne(count); err != nil {
			return err
		}
		c.latencies = append(c.latencies, time.Since(began))
	}
	return nil
}

func (c *client) fillOne(count int) error {
	if err := c.put(c.fresh(count)); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	c.puts += int64(count)
	c.left -= count
	return nil
}

// drain gets only, and leaves what it got as it is, until there is nothing, or the count is reached.
func (c *client) drain() error {
	for count := c.more(); count > 0; count = c.more() {
		began := time.Now()
		taken, err := c.get(count)
		if err != nil {
			return fmt.Errorf("get: %w", err)
		}
		if len(taken) == 0 {
			return nil
		}
		c.latencies = append(c.latencies, time.Since(began))
		c.gets += int64(len(taken))
		c.left -= len(taken)
	}
	return nil
}

func (c *client) drainOne(count int) (int, error) {
	taken, err := c.get(count)
	if err != nil {
		return 0, fmt.Errorf("get: %w", err)
	}
	c.gets += int64(len(taken))
	if len(taken) > 0 {
		if err := c.done(taken); err != nil {
			return 0, fmt.Errorf("done: %w", err)
		}
		c.dones += int64(len(taken))
	}
	return len(taken), nil
}
