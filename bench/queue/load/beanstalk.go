package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// beanstalk is a client of beanstalkd; several commands are sent at once, and answered one after the other.
type beanstalk struct {
	*wire
}

func openBeanstalk(o *order) (queue, error) {
	opened, err := dial(o.address)
	if err != nil {
		return nil, err
	}
	b := &beanstalk{wire: opened}
	for _, command := range []string{"use " + o.queue, "watch " + o.queue, "ignore default"} {
		b.out = append(append(b.out, command...), "\r\n"...)
		if err := b.flush(); err != nil {
			return nil, err
		}
		// The queue "default" is the only one watched, perhaps, and then cannot be ignored, nor need it be.
		if _, err := b.line(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *beanstalk) put(bodies [][]byte) error {
	for _, body := range bodies {
		b.out = fmt.Appendf(b.out, "put 50 0 %d %d\r\n%s\r\n", leaseSeconds, len(body), body)
	}
	return b.answers(len(bodies), "INSERTED ")
}

func (b *beanstalk) answers(count int, wanted string) error {
	if err := b.flush(); err != nil {
		return err
	}
	for range count {
		text, err := b.line()
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(text, []byte(wanted)) {
			return fmt.Errorf("not %q but %q", wanted, text)
		}
	}
	return nil
}

func (b *beanstalk) get(count int) (taken [][]byte, err error) {
	for range count {
		b.out = append(b.out, "reserve-with-timeout 0\r\n"...)
	}
	if err := b.flush(); err != nil {
		return nil, err
	}
	for range count {
		text, err := b.line()
		if err != nil {
			return nil, err
		}
		if bytes.Equal(text, []byte("TIMED_OUT")) {
			continue
		}
		parts := bytes.Fields(text)
		if len(parts) != 3 || !bytes.Equal(parts[0], []byte("RESERVED")) {
			return nil, fmt.Errorf("reserve was answered with %q", text)
		}
		id := bytes.Clone(parts[1])
		size, err := strconv.Atoi(string(parts[2]))
		if err != nil {
			return nil, err
		}
		if _, err := b.exactly(size, true); err != nil {
			return nil, err
		}
		taken = append(taken, id)
	}
	return taken, nil
}

func (b *beanstalk) done(taken [][]byte) error {
	for _, id := range taken {
		b.out = fmt.Appendf(b.out, "delete %s\r\n", id)
	}
	return b.answers(len(taken), "DELETED")
}
