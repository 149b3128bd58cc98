package main

import (
	"crypto/tls"
	"fmt"
	"net"

	"github.com/domicile-dev/domicile/pkg/api"
	"github.com/domicile-dev/domicile/pkg/identity"
)

// listen opens the doors: the admin API on loopback, xDS, and the API by mTLS if it is
// asked for.
func (p *plane) listen(o *options) error {
	var err error
	if p.adminL, err = api.ListenLoopback(o.admin); err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	if p.xdsL, err = net.Listen("tcp", o.xds); err != nil {
		return fmt.Errorf("--xds: %w", err)
	}
	if o.api != "" {
		apiTLS, err := o.serverTLS(p.log, []string{"h2", "http/1.1"}, identity.RoleOperator, identity.RoleControl, identity.RoleAgent)
		if err != nil {
			return err
		}
		if p.apiL, err = tls.Listen("tcp", o.api, apiTLS); err != nil {
			return fmt.Errorf("--api: %w", err)
		}
	}
	return nil
}
