package residency

import "slices"

// stand finds for each region the rules of the homes that its host name stands for.
// What serves no more, because a transfer ended or the brake was pulled, counts as
// it did before: a tightening must not let more gateways decrypt.
func (t *Table) stand() {
	type place struct{ home, region string }
	seen := map[place]bool{}
	regions := map[string][]string{} // by home
	byHome := map[string][]*Rule{}
	for i := range t.spec.Rules {
		r := &t.spec.Rules[i]
		byHome[r.Home] = append(byHome[r.Home], r)
		if first := r.first(); first != "" && !seen[place{r.Home, first}] {
			seen[place{r.Home, first}] = true
			regions[r.Home] = append(regions[r.Home], first)
		}
	}
	for home, list := range regions {
		for _, region := range list {
			t.standing[region] = append(t.standing[region], byHome[home]...)
		}
	}
}

// first is the region that serves first, or would; "" where none does.
func (r *Rule) first() string {
	for _, list := range [][]string{r.Serve, r.LapsedServe, r.Stopped} {
		if len(list) > 0 {
			return list[0]
		}
	}
	return ""
}

// MayDecrypt tells whether the gateway of the region entry may end the TLS of
// connections to the host name of the region host: whether every rule of every home
// that the host stands for in some class lists the entry. A class without a rule, or
// one that is forbidden, asks for nothing. Neither does a home under observation,
// whose requests go where they went before.
func (t *Table) MayDecrypt(host, entry string) bool {
	if t == nil {
		return false
	}
	for _, r := range t.standing[host] {
		if r.first() == "" || t.observed[r.Home] && !r.Braked {
			continue
		}
		if !slices.Contains(r.Entry, entry) {
			return false
		}
	}
	return true
}

// Ends tells where a stream ends whose TLS no gateway ends, so that only the host
// name in it says whose it is: in the region of that name, for the homes that are
// served there first in the class. The entry sees no payload and needs no permission.
// The homes of one name cannot be told apart, so that it is refused to all of them
// where one is not served any more because a transfer ended or the brake was pulled.
func (t *Table) Ends(host, class string) Decision {
	if t == nil {
		return Decision{Reason: NotDecidable}
	}
	out := Decision{Reason: NoHome}
	for i := range t.spec.Rules {
		r := &t.spec.Rules[i]
		switch {
		case r.Class != class || r.first() != host:
		case len(r.Serve) == 0 && len(r.LapsedServe) > 0:
			return Decision{Reason: Lapsed, Rule: r}
		case len(r.Serve) == 0:
			return Decision{Reason: Forbidden, Rule: r}
		default:
			out = Decision{allowed: true, Region: host, Serve: r.Serve[:1], Rule: r}
		}
	}
	return out
}
