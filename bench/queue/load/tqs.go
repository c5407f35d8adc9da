package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

const (
	// Requests that are sent before the first is answered; the server takes some more.
	aheadMax = 50
	// While it is measured, no lease ends by itself.
	leaseSeconds = 600
	// Longest that a poll waits; a message comes long before.
	pollSeconds = 60
	// A poll has reached the server, and the server is idle again.
	pollSettles = 20 * time.Millisecond
)

var leaseField = []byte(`"lease_uuid"`)

// tqs is a client of TQS.
type tqs struct {
	*wire
	path   string
	single bool
	body   []byte
}

func openTQS(o *order) (queue, error) {
	opened, err := dial(o.address)
	if err != nil {
		return nil, err
	}
	return &tqs{wire: opened, path: o.prefix + "/queues/" + o.queue, single: o.single}, nil
}

func (t *tqs) put(bodies [][]byte) error {
	t.body = append(t.body[:0], `{"messages":[`...)
	for index, body := range bodies {
		if index > 0 {
			t.body = append(t.body, ',')
		}
		t.body = append(append(append(t.body, `{"body":"`...), body...), `"}`...)
	}
	t.body = append(t.body, `]}`...)
	_, err := t.one("POST", t.path, t.body, 200)
	return err
}

func (t *tqs) get(count int) ([][]byte, error) {
	return t.take(count, "")
}

func (t *tqs) take(count int, more string) ([][]byte, error) {
	path := fmt.Sprintf("%s?message_count=%d&visibility_timeout=%d%s", t.path, count, leaseSeconds, more)
	answer, err := t.one("GET", path, nil, 200)
	if err != nil {
		return nil, err
	}
	return leases(answer)
}

// leases finds the leases in an answer: the text after the name of the field.
func leases(answer []byte) (found [][]byte, err error) {
	for {
		at := bytes.Index(answer, leaseField)
		if at < 0 {
			return found, nil
		}
		answer = answer[at+len(leaseField):]
		begin := bytes.IndexByte(answer, '"') + 1
		end := begin + bytes.IndexByte(answer[begin:], '"')
		if begin == 0 || end <= begin {
			return nil, errors.New("a lease has no text")
		}
		found = append(found, answer[begin:end])
		answer = answer[end:]
	}
}

func (t *tqs) done(taken [][]byte) error {
	if len(taken) == 1 || t.single {
		for part := range slices.Chunk(taken, aheadMax) {
			for _, lease := range part {
				t.ask("DELETE", t.path+"/leases/"+string(lease), nil)
			}
			if err := t.flush(); err != nil {
				return err
			}
			for range part {
				if _, err := t.expect("DELETE", t.path, 200); err != nil {
					return err
				}
			}
		}
		return nil
	}
	t.body = append(t.body[:0], `{"leases":["`...)
	t.body = append(append(t.body, bytes.Join(taken, []byte(`","`))...), `"]}`...)
	answer, err := t.one("DELETE", t.path+"/leases", t.body, 200)
	if err != nil {
		return err
	}
	_, after, _ := bytes.Cut(answer, []byte(`"deleted"`))
	number := bytes.TrimLeft(after, ": ")
	for index, character := range number {
		if character < '0' || character > '9' {
			number = number[:index]
			break
		}
	}
	if deleted, err := strconv.Atoi(string(number)); err != nil || deleted != len(taken) {
		return fmt.Errorf("of %d leases were ended: %.200s", len(taken), answer)
	}
	return nil
}

// poll measures the time from writing a put until a poll that waits has its answer. Nothing else goes on.
func poll(o *order) (found result, err error) {
	opened, err := openTQS(o)
	if err != nil {
		return found, err
	}
	defer opened.close()
	producer := opened.(*tqs)
	if opened, err = openTQS(o); err != nil {
		return found, err
	}
	defer opened.close()
	consumer := opened.(*tqs)

	type answered struct {
		leases [][]byte
		at     time.Time
		err    error
	}
	one := &client{order: o}
	var latencies []time.Duration
	began := time.Now()
	for range max(1, o.count) {
		answers := make(chan answered, 1)
		go func() {
			taken, err := consumer.take(1, fmt.Sprintf("&wait_time=%d", pollSeconds))
			answers <- answered{taken, time.Now(), err}
		}()
		time.Sleep(pollSettles + rand.N(pollSettles))
		put := time.Now()
		if err := producer.put(one.fresh(1)); err != nil {
			return found, err
		}
		found.Puts++
		got := <-answers
		if got.err != nil || len(got.leases) != 1 {
			return found, fmt.Errorf("a poll was answered with %d messages, %v", len(got.leases), got.err)
		}
		found.Gets++
		latencies = append(latencies, got.at.Sub(put))
		if err := consumer.done(got.leases); err != nil {
			return found, err
		}
		found.Dones++
	}
	found.Seconds = time.Since(began).Seconds()
	found.percentiles(latencies)
	return found, nil
}
