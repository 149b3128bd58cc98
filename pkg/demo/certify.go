package demo

import (
	"net"
	"path/filepath"

	"github.com/domicile-dev/domicile/pkg/atomicfile"
	"github.com/domicile-dev/domicile/pkg/envoy"
	"github.com/domicile-dev/domicile/pkg/identity"
	"github.com/domicile-dev/domicile/pkg/pin"
)

// controlID is the control plane's node id.
var controlID = identity.ID{Region: identity.NoRegion, Role: identity.RoleControl, Name: "demo"}

func gatewayID(region string) identity.ID {
	return identity.ID{Region: region, Role: identity.RoleGateway, Name: "demo"}
}

func sidecarID(region string) identity.ID {
	return identity.ID{Region: region, Role: identity.RoleSidecar, Name: "demo"}
}

func agentID(region string) identity.ID {
	return identity.ID{Region: region, Role: identity.RoleAgent, Name: "demo"}
}

// agentName names an agent's log and files.
func agentName(id identity.ID) string { return fileName(id.Region) + "-agent" }

// pinKeySuffix ends the name of the file with the private keys of a region's pins.
const pinKeySuffix = "-pin.jwk"

// pinKeys makes the key with which each region's agent signs pins.
func (d *demo) pinKeys() error {
	for i, r := range d.regions {
		private, err := pin.NewKey(r.name, "ES256")
		if err != nil {
			return err
		}
		keys, err := pin.ParseKeys(private)
		if err != nil {
			return err
		}
		public, err := keys.Public()
		if err != nil {
			return err
		}
		d.regions[i].pinKeys = string(public)
		if err := atomicfile.Write(d.place.path(dirAgents, fileName(r.name)+pinKeySuffix), private, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// certify makes the authority, a credential for each node, and each Envoy's
// bootstrap.
func (d *demo) certify() error {
	a, err := identity.NewAuthority(d.trustDomain)
	if err != nil {
		return err
	}
	if err := a.Save(d.place.path(dirAuthority)); err != nil {
		return err
	}
	local := identity.Options{DNS: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}
	p, err := a.Issue(controlID, local)
	if err != nil {
		return err
	}
	if err := p.Save(d.place.path(dirCerts, "control")); err != nil {
		return err
	}
	// For domicile user move --dir.
	if p, err = a.Issue(identity.ID{Region: identity.NoRegion, Role: identity.RoleOperator, Name: "demo"}, local); err != nil {
		return err
	}
	if err := p.Save(d.place.path(dirCerts, "operator")); err != nil {
		return err
	}
	for _, r := range d.regions {
		agent, err := a.Issue(agentID(r.name), local)
		if err != nil {
			return err
		}
		if err := agent.Save(d.place.path(dirCerts, agentName(agentID(r.name)))); err != nil {
			return err
		}
		public := local
		public.DNS = append(d.decrypts(r), local.DNS...)
		if err := d.certifyEnvoy(a, gatewayID(r.name), r, r.admin, public); err != nil {
			return err
		}
		if err := d.certifyEnvoy(a, sidecarID(r.name), r, r.sideMin, local); err != nil {
			return err
		}
	}
	return nil
}

// decrypts lists the host names for which a region's gateway needs a certificate: its
// own, and those of the regions whose users may enter here. Where they may not, it
// could not pass for them if it wanted to.
func (d *demo) decrypts(entry regionPlan) []string {
	var out []string
	for _, r := range d.regions {
		if r.host != "" && (r.name == entry.name || d.release.Table.MayDecrypt(r.name, entry.name)) {
			out = append(out, r.host)
		}
	}
	return out
}

func (d *demo) certifyEnvoy(a *identity.Authority, id identity.ID, r regionPlan, admin string, o identity.Options) error {
	node, err := a.Issue(id, o)
	if err != nil {
		return err
	}
	public, err := a.IssueServer(o)
	if err != nil {
		return err
	}
	name := envoyName(id)
	nodeDir, publicDir := d.place.path(dirCerts, name), d.place.path(dirCerts, name+"-public")
	if err := node.Save(nodeDir); err != nil {
		return err
	}
	if err := public.Save(publicDir); err != nil {
		return err
	}
	pair := func(dir string) envoy.KeyPair {
		return envoy.KeyPair{
			Certificate: envoy.PEM{File: filepath.Join(dir, identity.CertFile)},
			Key:         envoy.PEM{File: filepath.Join(dir, identity.KeyFile)},
		}
	}
	boot, err := envoy.Bootstrap(envoy.BootstrapSpec{
		Coverage: 100, // a demo has few users
		ID:       id.String(), Cluster: id.Role, Admin: admin, XDS: d.xds, TrustDomain: d.trustDomain,
		Node: pair(nodeDir), Public: pair(publicDir), CA: envoy.PEM{File: filepath.Join(nodeDir, identity.CAFile)},
		Agent: r.socket,
	})
	if err != nil {
		return err
	}
	return atomicfile.Write(d.bootstrapFile(id), boot, 0o600)
}

// envoyName names an Envoy's log and files.
func envoyName(id identity.ID) string { return fileName(id.Region) + "-" + id.Role }

func (d *demo) bootstrapFile(id identity.ID) string {
	return d.place.path(dirEnvoy, envoyName(id)+".json")
}
