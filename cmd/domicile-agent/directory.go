package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/domicile-dev/domicile/pkg/agent/inforce"
	"github.com/domicile-dev/domicile/pkg/directory/open"
	"github.com/domicile-dev/domicile/pkg/fence"
	"github.com/domicile-dev/domicile/pkg/topology"
)

// openDirectory opens the stand-in of this machine, else the deployment's directory.
func (o *options) openDirectory(d *topology.Directory) (inforce.Directory, error) {
	switch {
	case d == nil && o.directory == "":
		return nil, nil
	case d == nil:
		d = &topology.Directory{}
	}
	return open.Open(*d, open.Local{StandIn: o.directory, TLS: o.sources})
}

// sweep is how often the fence drops what has ended.
const sweep = time.Minute

// sweeping drops entries that have ended, until ctx does.
func sweeping(ctx context.Context, f *fence.Fence, log *slog.Logger) error {
	tick := time.NewTicker(sweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := f.Sweep(); err != nil {
				log.Warn("the fence keeps what has ended", "error", err)
			}
		}
	}
}
