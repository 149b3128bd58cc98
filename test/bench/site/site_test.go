package site

import (
	"testing"
	"testing/fstest"
	"time"
)

func TestCPUTime(t *testing.T) {
	const stat = "7 (an odd) name) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 3 0 1 2 3"
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	threads := fstest.MapFS{
		"7/stat": file(stat), "7/task/7/schedstat": file("1000 5 1\n"), "7/task/8/schedstat": file("2500 5 1\n"),
	}
	for name, c := range map[string]struct {
		proc fstest.MapFS
		want time.Duration
	}{
		"threads":             {threads, 3500},
		"a kernel without":    {fstest.MapFS{"7/stat": file(stat)}, 2 * time.Second},
		"schedstat all zero":  {fstest.MapFS{"7/stat": file(stat), "7/task/7/schedstat": file("0 0 0\n")}, 2 * time.Second},
		"no such process":     {fstest.MapFS{}, -1},
		"a broken schedstat":  {fstest.MapFS{"7/stat": file(stat), "7/task/7/schedstat": file("x 0 0")}, -1},
		"a stat cut short":    {fstest.MapFS{"7/stat": file("7 (x) S 1 7")}, -1},
		"a stat without name": {fstest.MapFS{"7/stat": file("7")}, -1},
	} {
		got, err := cpuTime(c.proc, 7)
		if c.want < 0 != (err != nil) || err == nil && got != c.want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestField(t *testing.T) {
	if got := field("processor\t: 0\nmodel name\t: AMD: X\n", "model name"); got != "AMD: X" {
		t.Errorf("%q", got)
	}
}
