package main

// zapq is a client of ZapQ. It has one message at a time, and getting it is all there is.
type zapq struct {
	*wire
	prefix string
}

func openZapQ(o *order) (queue, error) {
	opened, err := dial(o.address)
	if err != nil {
		return nil, err
	}
	return &zapq{wire: opened, prefix: o.prefix}, nil
}

func (z *zapq) put(bodies [][]byte) error {
	for _, body := range bodies {
		if _, err := z.one("POST", z.prefix+"/enqueue", body, 202); err != nil {
			return err
		}
	}
	return nil
}

func (z *zapq) get(count int) ([][]byte, error) {
	body, err := z.one("GET", z.prefix+"/dequeue", nil, 200, 204)
	if err != nil || body == nil {
		return nil, err
	}
	return [][]byte{body}, nil
}

func (z *zapq) done([][]byte) error { return nil }
