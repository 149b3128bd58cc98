package elsewhere

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/domicile-dev/domicile/pkg/policy"
)

func TestParse(t *testing.T) {
	got, err := Parse([]string{"a/xmpp=127.0.0.1:5280", "a/xmpp=[::1]:5281", "a/xmpp=127.0.0.1:5280", "b/mqtt=im.example.com:1883"})
	want := Backends{"a": {"xmpp": {"127.0.0.1:5280", "[::1]:5281"}}, "b": {"mqtt": {"im.example.com:1883"}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, bad := range []string{"", "a", "a/b", "a/b=", "a=1.2.3.4:5", "/b=1.2.3.4:5", "a/=1.2.3.4:5", "a/b=1.2.3.4", "a/b=:5", "a/b=h:0", "a/b=h:65536", "a/b=h:x", "a/b=http://h:5", "a/b=u@h:5"} {
		if got, err := Parse([]string{bad}); err == nil || !strings.Contains(err.Error(), "REGION/SERVICE=HOST:PORT") {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

func TestCheck(t *testing.T) {
	d := &policy.Deployment{Regions: []policy.Region{
		{Name: "a", Backends: map[string][]string{"mqtt": {"10.0.0.1:1"}, "xmpp": {"10.0.0.1:2"}}}, {Name: "b"},
	}}
	at := func(region, service string) Backends { return Backends{region: {service: {"127.0.0.1:1"}}} }
	for _, c := range []struct {
		b    Backends
		want string
	}{
		{nil, ""},
		{at("a", "xmpp"), ""},
		{at("c", "xmpp"), "it has a, b"},
		{at("a", "sms"), "it has mqtt, xmpp"},
		{at("b", "xmpp"), "gives the region no backend of this service"},
	} {
		err := c.b.Check(d)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.b, err)
		}
	}
}
