package e2e_test

import "testing"

// A door that offers WebSocket over HTTP/2 (RFC 8441) must carry it for clients
// that keep to that RFC, such as browsers: they send no Sec-WebSocket-Key. A door
// that cannot must not offer it, so that they open a connection by HTTP/1.1.
func TestWebSocketOverHTTP2AsBrowsersDoIt(t *testing.T) {
	l := shared(t)
	for door, url := range l.doors() {
		before := l.counted(t)
		if offered, a := extendedConnect(t, url, l.token(t, "h2ws-SA", "SA"), "hi"); offered && (a.status != 200 || a.body != "me-riyadh:hi") {
			t.Errorf("through %s: %s", door, a)
		}
		for region, n := range l.reached(t, before) {
			if region != "me-riyadh" {
				t.Errorf("LEAK: region %s counted %d", region, n)
			}
		}
	}
}
