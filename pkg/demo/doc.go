// Package demo runs a whole Domicile on one machine: etcd, the control plane,
// and for each region of a deployment an Envoy gateway, an Envoy sidecar, an
// agent and sample backends, each a process of its own on loopback ports. It
// works for any policy directory: what the policy names gets a local stand-in by
// an overlay, and the policy itself stays as it is.
//
// Run owns all processes: they share its process group and do not outlive it,
// even when it is killed by SIGKILL. It restarts none and does not end because
// of one. What it wrote it removes at the end, and nothing else; after SIGKILL
// the next demo in the same directory does.
//
// Token and Cert work beside a running demo, from other processes, on its files.
// Nothing here is made for production: keys lie in files, and whoever may use
// the machine may use the demo.
package demo
