package main

import (
	"fmt"
	"strconv"
)

// redis is a client of Redis, with its pattern of a reliable queue: a message that is got moves to a list of the
// client's own in the same step, and is removed from there when it is done.
type redis struct {
	*wire
	list, mine string
}

func openRedis(o *order, number int) (queue, error) {
	opened, err := dial(o.address)
	if err != nil {
		return nil, err
	}
	return &redis{wire: opened, list: o.queue, mine: fmt.Sprintf("%s:%d", o.queue, number)}, nil
}

// command adds a command to what is to be written (the Redis protocol, RESP2).
func (r *redis) command(words ...string) {
	r.out = fmt.Appendf(r.out, "*%d\r\n", len(words))
	for _, word := range words {
		r.word([]byte(word))
	}
}

func (r *redis) word(word []byte) {
	r.out = fmt.Appendf(r.out, "$%d\r\n%s\r\n", len(word), word)
}

func (r *redis) put(bodies [][]byte) error {
	r.out = fmt.Appendf(r.out, "*%d\r\n", len(bodies)+2)
	r.word([]byte("RPUSH"))
	r.word([]byte(r.list))
	for _, body := range bodies {
		r.word(body)
	}
	if err := r.flush(); err != nil {
		return err
	}
	length, err := r.number()
	if err == nil && length < 1 {
		err = fmt.Errorf("RPUSH was answered with %d", length)
	}
	return err
}

func (r *redis) number() (int, error) {
	text, err := r.line()
	if err != nil {
		return 0, err
	}
	if len(text) < 2 || text[0] != ':' {
		return 0, fmt.Errorf("no number: %q", text)
	}
	return strconv.Atoi(string(text[1:]))
}

func (r *redis) get(count int) (taken [][]byte, err error) {
	for range count {
		r.command("LMOVE", r.list, r.mine, "LEFT", "RIGHT")
	}
	if err := r.flush(); err != nil {
		return nil, err
	}
	for range count {
		text, err := r.line()
		if err != nil {
			return nil, err
		}
		if len(text) < 2 || text[0] != '$' {
			return nil, fmt.Errorf("LMOVE was answered with %q", text)
		}
		size, err := strconv.Atoi(string(text[1:]))
		if err != nil {
			return nil, err
		}
		if size < 0 {
			continue // the list is empty
		}
		body, err := r.exactly(size, true)
		if err != nil {
			return nil, err
		}
		taken = append(taken, body)
	}
	return taken, nil
}

func (r *redis) done(taken [][]byte) error {
	for _, body := range taken {
		r.command("LREM", r.mine, "1", string(body))
	}
	if err := r.flush(); err != nil {
		return err
	}
	for range taken {
		removed, err := r.number()
		if err != nil {
			return err
		}
		if removed != 1 {
			return fmt.Errorf("LREM removed %d", removed)
		}
	}
	return nil
}
