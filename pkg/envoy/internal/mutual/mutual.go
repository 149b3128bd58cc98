// Package mutual makes TLS between Envoys, and towards the control plane: both sides
// show a SPIFFE identity. It is pure.
package mutual

import (
	"fmt"
	"regexp"
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Secrets of the bootstrap: certificates never travel by xDS.
const (
	NodeSecret = "domicile_node" // this Envoy's own identity
	CASecret   = "domicile_ca"   // who may be a peer
)

// TLS presents this Envoy's identity and accepts the SANs given.
func TLS(alpn []string, san *tlsv3.SubjectAltNameMatcher) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		AlpnProtocols:                  alpn,
		TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: NodeSecret}},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: &tlsv3.CertificateValidationContext{
					MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{san},
				},
				ValidationContextSdsSecretConfig: &tlsv3.SdsSecretConfig{Name: CASecret},
			},
		},
	}
}

// SAN accepts the identities that a regular expression matches.
func SAN(regex string) *tlsv3.SubjectAltNameMatcher {
	return &tlsv3.SubjectAltNameMatcher{
		SanType: tlsv3.SubjectAltNameMatcher_URI,
		Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
			Regex: regex,
		}}},
	}
}

// Regex matches the identities of the given roles in the regions that another
// regular expression names.
func Regex(trustDomain, regions string, roles ...string) string {
	return fmt.Sprintf("spiffe://%s/%s/(?:%s)/[^/]+", regexp.QuoteMeta(trustDomain), regions, strings.Join(roles, "|"))
}
