package supervise

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range that the kernel gives to outgoing
// connections (32768 and up by default): a port there could be taken by any
// connection between our look and the child's bind.
const (
	firstPort = 20000
	lastPort  = 32000
	blockSize = 100
)

// Ports hands out free loopback ports. It claims them in blocks, each by an
// abstract Unix socket that the kernel drops when the process dies, however
// it dies, so two demos that start at once never pick the same port.
type Ports struct {
	claims []net.Listener
	next   int
	end    int
}

// Take returns a free 127.0.0.1:P.
func (p *Ports) Take() (string, error) {
	for {
		for ; p.next < p.end; p.next++ {
			addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(p.next))
			l, err := net.Listen("tcp", addr)
			if err != nil {
				continue
			}
			p.next++
			return addr, l.Close()
		}
		if err := p.claim(); err != nil {
			return "", err
		}
	}
}

func (p *Ports) claim() error {
	blocks := (lastPort - firstPort) / blockSize
	start := rand.IntN(blocks)
	for i := range blocks {
		first := firstPort + (start+i)%blocks*blockSize
		l, err := net.Listen("unix", fmt.Sprintf("@domicile-demo-ports-%d", first))
		if err != nil {
			continue
		}
		p.claims = append(p.claims, l)
		p.next, p.end = first, first+blockSize
		return nil
	}
	return errors.New("find ports: no free loopback ports between 20000 and 32000")
}

// Release gives the claims back.
func (p *Ports) Release() {
	for _, l := range p.claims {
		l.Close()
	}
	p.claims = nil
}
