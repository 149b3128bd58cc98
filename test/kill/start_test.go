package kill_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/domicile-dev/domicile/pkg/store"
)

// T18: a control plane that starts where the head's archive is damaged has no
// policy, says why, and is not ready; applying the same policy again mends it.
func TestT18_StartWithoutAValidBundleIsClosed(t *testing.T) {
	s := newSite(t)
	raw, err := clientv3.New(clientv3.Config{Endpoints: []string{s.etcd.args[4]}, DialTimeout: 5 * time.Second})
	must(t, err)
	defer raw.Close()
	chunk := "/domicile/v1/bundles/" + s.head.Bundle + "/000001"
	got, err := raw.Get(t.Context(), chunk)
	must(t, err)
	if len(got.Kvs) != 1 {
		t.Fatalf("%d values at %s", len(got.Kvs), chunk)
	}
	good := string(got.Kvs[0].Value)
	for name, bad := range map[string]string{
		"bit flip": good[:1000] + string(good[1000]^1) + good[1001:], "truncated": good[:len(good)/2], "trailing": good + "x", "swapped": strings.Repeat("x", len(good)),
	} {
		_, err = raw.Put(t.Context(), chunk, bad)
		must(t, err)
		if _, err := s.store.Bundle(t.Context(), s.head.Bundle); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		s.control.kill()
		s.control.start(t)
		eventually(t, 20*time.Second, func() error {
			st, err := s.status()
			switch {
			case err != nil:
				return err
			case st.Policy != nil:
				t.Fatalf("%s: in force: %+v", name, st.Policy)
			case st.Refused == nil || st.Refused.Sequence != s.head.Sequence || !strings.Contains(st.Refused.Error, "corrupt"):
				return fmt.Errorf("refused %+v", st.Refused)
			}
			return s.remembers(s.head, s.head)
		})
		res, err := http.Get("http://" + s.admin + "/readyz")
		must(t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: ready: %d", name, res.StatusCode)
		}
	}
	// The same policy, applied once more, mends it.
	if code, out := s.run("apply", s.dir); code != 0 {
		t.Fatalf("apply over damage: exit %d: %s", code, out)
	}
	old := s.head
	if s.head = s.judge(old, s.now, s.now); s.head == old {
		t.Error("nothing was written")
	}
	if again, err := raw.Get(t.Context(), chunk); err != nil || string(again.Kvs[0].Value) != good {
		t.Errorf("the archive is not what it was: %v", err)
	}
}
