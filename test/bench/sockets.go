package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/domicile-dev/domicile/test/bench/figures"
	"github.com/domicile-dev/domicile/test/bench/load"
	"github.com/domicile-dev/domicile/test/bench/site"
)

// idleSockets is how many sockets are opened to see what one weighs.
const idleSockets = 1000

// message is a masked binary message of 64 bytes, and reply what comes back.
var message, reply = frames(64)

func frames(n int) (masked, plain []byte) {
	body := bytes.Repeat([]byte("domicile"), n/8)
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	masked = append([]byte{0x82, 0x80 | byte(n)}, key[:]...)
	for i, c := range body {
		masked = append(masked, c^key[i%4])
	}
	return masked, append([]byte{0x82, byte(n)}, body...)
}

// talk sends one message and awaits its echo.
func talk(w *load.Wire) error {
	if _, err := w.Write(message); err != nil {
		return err
	}
	if _, err := io.ReadFull(w.Conn, w.Buf[:len(reply)]); err != nil {
		return err
	}
	if !bytes.Equal(w.Buf[:len(reply)], reply) {
		return fmt.Errorf("%x came back", w.Buf[:len(reply)])
	}
	return nil
}

// openSockets opens n WebSockets of one user.
func (b *bench) openSockets(s *side, n int) ([]*load.Wire, error) {
	token, err := b.mint.token("socket", homeName(0), time.Now())
	if err != nil {
		return nil, err
	}
	request := []byte("GET " + socketPath + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + token +
		"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZG9taWNpbGViZW5jaCEhIQ==\r\n\r\n")
	list, err := load.Dial(s.addr, n)
	if err != nil {
		return nil, err
	}
	for _, w := range list {
		status := 0
		err := w.SetDeadline(time.Now().Add(load.AnswerTime))
		if err == nil {
			status, err = w.Ask(request)
		}
		if err == nil && status != 101 {
			err = fmt.Errorf("status %d: %s", status, load.Tail(w.Buf))
		}
		if err != nil {
			load.HangUp(list)
			return nil, fmt.Errorf("open a WebSocket at %s: %w", s.name, err)
		}
	}
	return list, nil
}

// socketRows measures P6: messages a second, then the weight of an idle socket.
func (b *bench) socketRows(ctx context.Context, sides []*side) error {
	m, weights := samples{}, map[string]figures.Series{}
	for round := range b.rounds {
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			x, err := b.messages(ctx, s)
			if err != nil {
				return err
			}
			m.add(s.name, x)
		}
	}
	for round := range b.rounds {
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			w, err := b.weigh(ctx, s)
			if err != nil {
				return err
			}
			weights[s.name] = append(weights[s.name], w)
		}
	}
	r := b.report
	r.Add("P6", "WebSocket messages through the revocable hop / bare, messages/s", "×", m.rate(pinnedSide, bareSide), figures.AtLeast(0.95))
	r.Add("P6", "the same by Envoy's CPU time a message", "×", m.cost(pinnedSide, bareSide), figures.AtLeast(0.95))
	r.Add("P6", "memory of an idle socket / bare", "×", weights[pinnedSide].Over(weights[bareSide]), figures.AtMost(1.3))
	for _, s := range sides {
		r.Add("P6", s.name+": messages a second", "/s", m[s.name]["rate"], nil)
		r.Add("P6", s.name+": CPU time a message", "µs", m[s.name]["cost"], nil)
		r.Add("P6", s.name+": busy", "cores", m[s.name]["busy"], nil)
		r.Add("P6", s.name+": memory of an idle socket", "KiB", weights[s.name], nil)
	}
	return nil
}

// messages drives fresh sockets: a bare route's time-out must not end old ones.
func (b *bench) messages(ctx context.Context, s *side) (sample, error) {
	conns, err := b.openSockets(s, load.Connections)
	if err != nil {
		return sample{}, err
	}
	defer load.HangUp(conns)
	open := *s
	open.conns = conns
	if _, _, err := load.Drive(ctx, conns, b.seconds/10, 0, talk); err != nil {
		return sample{}, fmt.Errorf("%s: %w", s.name, err)
	}
	return b.measure(ctx, &open, b.seconds, 0, talk)
}

// weigh is what Envoy has allocated for one idle socket more, in KiB.
func (b *bench) weigh(ctx context.Context, s *side) (float64, error) {
	if err := drained(ctx, s.admin); err != nil {
		return 0, err
	}
	before, err := allocated(ctx, s.admin)
	if err != nil {
		return 0, err
	}
	conns, err := b.openSockets(s, idleSockets)
	if err != nil {
		return 0, err
	}
	defer load.HangUp(conns)
	after, err := allocated(ctx, s.admin)
	if err != nil {
		return 0, err
	}
	if after <= before {
		return 0, fmt.Errorf("%s: Envoy counts %d bytes before and %d after opening %d sockets", s.name, before, after, idleSockets)
	}
	return float64(after-before) / idleSockets / 1024, nil
}

// drained waits until no connection of an earlier measurement is left.
func drained(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, load.AnswerTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		body, err := site.Fetch(ctx, "http://"+admin+"/stats?format=json&filter=^cluster%5C."+localCluster+"%5C.upstream_rq_active$")
		if err != nil {
			return err
		}
		var stats struct {
			Stats []struct{ Value int }
		}
		if err := json.Unmarshal(body, &stats); err != nil {
			return fmt.Errorf("read stats: %w", err)
		}
		if len(stats.Stats) != 1 {
			return errors.New("read stats: Envoy does not count the active requests of " + localCluster)
		}
		if stats.Stats[0].Value == 0 {
			return nil
		}
		<-tick.C
	}
}

// allocated is how many bytes Envoy has in use.
func allocated(ctx context.Context, admin string) (int64, error) {
	body, err := site.Fetch(ctx, "http://"+admin+"/memory")
	if err != nil {
		return 0, err
	}
	var m struct{ Allocated string }
	if err := json.Unmarshal(body, &m); err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	n, err := strconv.ParseInt(m.Allocated, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	return n, nil
}
