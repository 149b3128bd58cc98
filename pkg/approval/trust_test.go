package approval

import (
	"fmt"
	"strings"
	"testing"
)

func TestReadTrust(t *testing.T) {
	kim, lee := newKey(t), newKey(t)
	good := fmt.Sprintf("# who begins\n\nkim %s\r\n  lee\t%s", kim.Public(), lee.Public())
	trust, err := ReadTrust([]byte(good))
	if err != nil || trust.String() != "kim, lee" {
		t.Fatalf("%v, %v", trust, err)
	}
	for name, c := range map[string]struct{ file, want string }{
		"nobody":        {"# nobody\n", "lists 0 signers"},
		"no key":        {"kim\n", "line 1: write a name"},
		"no base64":     {"\nkim ###\n", "line 2: the key of"},
		"no public key": {"kim AAAA", "line 1: the key of"},
		"a name twice":  {"kim " + kim.Public() + "\nkim " + lee.Public(), "line 2: the name or the key"},
		"a key twice":   {"kim " + kim.Public() + "\nlee " + kim.Public(), "line 2: the name or the key"},
		"too long":      {strings.Repeat("#", MaxTrust+1), "the most is"},
	} {
		if _, err := ReadTrust([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTrustVerify(t *testing.T) {
	kim, lee, max := newKey(t), newKey(t), newKey(t)
	trust, err := ReadTrust([]byte("kim " + kim.Public() + "\nlee " + lee.Public()))
	if err != nil {
		t.Fatal(err)
	}
	both := sign(t, sign(t, nil, statement, kim), statement, lee)
	if s, err := trust.Verify(t.Context(), both); err != nil || s != statement {
		t.Errorf("%+v, %v", s, err)
	}
	for name, envelope := range map[string][]byte{
		"nothing": nil, "one": sign(t, nil, statement, kim), "others": sign(t, sign(t, nil, statement, kim), statement, max), "rubbish": []byte("{}"),
	} {
		if _, err := trust.Verify(t.Context(), envelope); err == nil {
			t.Errorf("%s is trusted", name)
		}
	}
}

// FuzzReadTrust: no file panics, and what is read is in bounds, each name and key once.
func FuzzReadTrust(f *testing.F) {
	k := newKey(f)
	f.Add([]byte("# c\nkim " + k.Public() + "\n"))
	f.Add([]byte("kim " + k.Public() + "\nkim " + k.Public()))
	f.Fuzz(func(t *testing.T, data []byte) {
		trust, err := ReadTrust(data)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, s := range trust {
			if s.Name == "" || seen[s.Name] || seen[string(s.Key)] || isPublic(s.Key) != nil {
				t.Errorf("%q: %+v", data, s)
			}
			seen[s.Name], seen[string(s.Key)] = true, true
		}
		if len(trust) == 0 || len(trust) > MaxSignatures {
			t.Errorf("%d signers", len(trust))
		}
	})
}
