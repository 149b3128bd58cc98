// Package control is the control plane's heart: it follows the policy head in
// the store, compiles each bundle into a residency table and Envoy resources,
// and publishes them to the xDS server; and it carries out the changes that
// operators ask for (apply, rollback), which it writes to the store only.
//
// What it guarantees:
//   - All or nothing. A bundle with one error or one leak publishes nothing; the
//     last good policy stays in force and Status says why (Refused). Before the
//     first good policy nothing is published: Envoy's own bootstrap denies.
//   - The digest of a bundle is verified before anything in it is read.
//   - A policy head never goes back: a store that answers with a lower sequence,
//     another record under a known sequence, or nothing where there was a
//     policy, is not followed.
//   - The instant at which policies are compiled never goes back either, so a
//     clock that jumps back cannot revive a lapsed transfer.
//   - No other replica's clock is followed: a policy's dates come at the instants
//     of this one. Where the record of another replica's change shows that the
//     two clocks differ, Status and a metric say so, see package clock. A clock that
//     is wrong while nobody changes the policy, or wrong alike on all replicas,
//     shows only to who asks or scrapes with another clock.
//   - What a policy forbids is published without waiting for what it adds (the
//     Revoke step of each target, see rollout).
//
// When the store is lost the policy in force stays, without limit; Status and
// the metrics say since when. A change is refused as unavailable then and
// nothing is changed.
//
// A Controller is safe for concurrent use. One goroutine (Run) owns the policy
// in force; changes run in their callers' goroutines and touch only the store.
package control
