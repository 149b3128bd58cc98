package health

import (
	"time"

	"github.com/domicile-dev/domicile/pkg/jwks"
	"github.com/domicile-dev/domicile/pkg/lang"
)

// Keys judges how it stands with the fetched keys of one issuer, for check and for
// status.
func Keys(k jwks.Status, now time.Time) Finding {
	age := now.Sub(k.Fetched).Round(time.Second)
	look := lang.T("look at the URL from where domicile-control runs; other issuers and the policies are not touched")
	switch {
	case k.Error == "" && k.Fetched.IsZero():
		return Finding{"warn", lang.T("%s: its keys are being fetched", k.Issuer), lang.T("wait a moment")}
	case k.Error == "":
		return Finding{"ok", lang.T("%s: its keys were seen %s ago", k.Issuer, age.String()), lang.Text{}}
	case k.Until.IsZero():
		return Finding{"fail", lang.T("%s: no token verifies, its keys cannot be fetched: %s", k.Issuer, k.Error), look}
	default:
		return Finding{"warn", lang.T("%s: its keys cannot be fetched for %s, those of %s ago count until %s: %s",
			k.Issuer, now.Sub(k.Since).Round(time.Second).String(), age.String(), k.Until.UTC().Format(time.RFC3339), k.Error), look}
	}
}
