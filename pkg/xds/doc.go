// Package xds delivers configuration to Envoys: a delta ADS server that rolls
// every proxy to its group's [Target] on its own, revocation first.
//
// Guarantees. What a target takes away is sent before anything that it adds,
// and waits for nobody: not for another proxy, not for an earlier answer of
// the same one. What a target adds is sent only after the proxy has ACKed the
// clusters and listeners that it needs, and nothing is removed before the
// proxy has ACKed the routes that no longer use it. A proxy that already has a
// version is never sent it again, also over a reconnect to another replica;
// when nothing differs, nothing is sent. An ACK means that Envoy accepted the
// bytes, not that it serves them yet.
//
// Failure. A NACK concerns one proxy: it keeps its last good configuration,
// shows as rejected, and is tried again with growing pauses, or at once when
// the target changes. A proxy that does not answer within Config.AckDeadline
// is disconnected and shows as silent. Without a target nothing is sent, so
// that an Envoy keeps the configuration that it has, or its bootstrap's denial.
// Clients that do not prove by certificate that they are the node they claim
// to be get PermissionDenied and no byte of configuration.
//
// Concurrency. All methods of [Server] may be called at any time. Publish
// never waits for a proxy: each stream has a mailbox of one target, the latest
// wins, and what is kept for a proxy does not grow with the number of targets
// that it missed.
//
// The decisions of a roll-out are in rollout.go, which knows no gRPC, no clock
// and no goroutine. DESIGN.md says why go-control-plane's caches are not used.
package xds
