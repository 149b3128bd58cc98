// Package api is the control plane's HTTP interface: health, metrics, status,
// and the changes that operators make.
//
//	GET  /healthz               200 while the process runs
//	GET  /readyz                200 when a policy is in force and xDS is served
//	GET  /metrics               Prometheus
//	GET  /v1/status             Status
//	GET  /v1/history?limit=     store.Record list, newest first
//	GET  /v1/bundle?after=&wait=  release.Published, once its State is not after
//	GET  /v1/bundle/{digest}    the archive
//	POST /v1/apply?author=&message=&commit=&base=&digest=&wait=   body: the archive
//	POST /v1/rollback?to=&author=&message=&wait=
//
// Errors are application/problem+json with title, detail and fix. 400: the
// request is malformed; 401, 403: not permitted; 404: no such thing; 409: the
// head is another than base, look and try again; 413, 415; 422: the policy was
// checked and rejected, with problems, leaks and tests; 503 with Retry-After:
// the store does not answer, nothing is known to have changed.
//
// There are two doors. Admin is plain HTTP for loopback addresses: whoever may
// use the machine may use it. It takes only requests that are addressed to a
// loopback host, and POSTs that no web page can send, so that a browser on that
// machine cannot be used against it. Remote is mTLS: the caller is known by the
// node id in the certificate, writes need the role operator, and the author of
// a change is that id, whatever the request says.
//
// All handlers are safe for concurrent use. Sizes and times are bounded.
package api
