// Package certificates judges who must prove by a certificate where it is. It is pure.
package certificates

import (
	"slices"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/facts"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/patterns"
	"github.com/domicile-dev/domicile/pkg/leakcheck/internal/requests"
)

// Verified tells whether a certificate that is shown is verified at all.
func Verified(c *tlsv3.CommonTlsContext) bool {
	v, ca := facts.Validation(c)
	return v != nil && ca && v.GetTrustChainVerification() == tlsv3.CertificateValidationContext_VERIFY_TRUST_CHAIN &&
		!v.GetAllowExpiredCertificate()
}

// Proves tells whether the certificate must be one of the region.
func Proves(a *requests.Algebra, c *tlsv3.CommonTlsContext, region string) bool {
	v, _ := facts.Validation(c)
	if !Verified(c) || v.GetCustomValidatorConfig() != nil {
		return false
	}
	at := slices.Index(a.Atoms[requests.Entry], region)
	sans := v.GetMatchTypedSubjectAltNames()
	if at < 0 || len(sans) == 0 {
		return false
	}
	for _, san := range sans {
		l := a.Compile(patterns.Envoy(san.GetMatcher()), false)
		if san.GetSanType() != tlsv3.SubjectAltNameMatcher_URI || l == nil || a.Exceeds(l, a.AtomLanguages[requests.Entry][at]) {
			return false
		}
	}
	return true
}
