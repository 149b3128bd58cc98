package figures

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSeries(t *testing.T) {
	hundred := make(Series, 100)
	for i := range hundred {
		hundred[99-i] = float64(i + 1)
	}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"median of an odd number", Series{9, 1, 5}.Median(), 5},
		{"median of an even number", Series{9, 1, 5, 2}.Median(), 3.5},
		{"median of one", Series{7}.Median(), 7},
		{"min", Series{3, 1, 2}.Min(), 1},
		{"max", Series{3, 1, 2}.Max(), 3},
		{"p99 of 100", hundred.Quantile(0.99), 99},
		{"p50 of 100", hundred.Quantile(0.5), 50},
		{"p99 of fewer than 100 is the greatest", hundred[:40].Quantile(0.99), 100},
		{"milliseconds", Millis([]time.Duration{1500 * time.Microsecond})[0], 1.5},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	if !math.IsNaN(Series{}.Median()) || !math.IsNaN(Series{}.Min()) {
		t.Error("nothing measured gives a figure")
	}
	s := Series{3, 1, 2}
	if s.Median(); s[0] != 3 {
		t.Error("the order of the rounds is lost")
	}
	if d := cmp.Diff(Series{2, 0.5}, Series{4, 2, 9}.Over(Series{2, 4})); d != "" {
		t.Errorf("ratios are not taken round by round: %s", d)
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		g    *Goal
		x    float64
		want bool
	}{
		{AtLeast(0.9), 0.9, true}, {AtLeast(0.9), 0.899, false}, {AtMost(30), 30, true}, {AtMost(30), 30.1, false},
		{AtMost(30), math.NaN(), false}, {AtLeast(0.9), math.NaN(), false},
	} {
		if got := c.g.Met(c.x); got != c.want {
			t.Errorf("%v %v: %v", c.x, c.g, got)
		}
	}
}

func TestReport(t *testing.T) {
	r := &Report{Order: []string{"P1", "P3"}, Rounds: 3, Versions: []Version{{"Envoy", "9.9"}}}
	r.Add("P3", "second", "×", Series{2, 1, 3}, AtLeast(2.5))
	r.Add("P1", "first", "×", Series{1}, AtLeast(0.9))
	r.Note("a note")
	var text, body bytes.Buffer
	if err := r.Table(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2.00 ×", "1.00–3.00", "≥ 2.5 ×", "NO", "1 of 2 goals met", "Envoy 9.9", "a note"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &text)
		}
	}
	if strings.Index(text.String(), "first") > strings.Index(text.String(), "second") {
		t.Error("the rows are not in their order")
	}
	if err := r.JSON(&body); err != nil {
		t.Fatal(err)
	}
	back := Report{Order: r.Order}
	if err := json.Unmarshal(body.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*r, back); d != "" {
		t.Error(d)
	}
}
