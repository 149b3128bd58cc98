package compile

import "github.com/domicile-dev/domicile/pkg/policy"

// The codes of the problems that Compile finds. They are stable: DP21xx is
// meaning, DP31xx governance, DP41xx topology, DP91xx a bug in Domicile.
const (
	CodeNoDeployment   = "DP2100" // error
	CodeUnknownClass   = "DP2101" // error
	CodeUnknownPlace   = "DP2102" // error: neither a group nor a code
	CodeUnknownLaw     = "DP2103" // error
	CodeUnknownBasis   = "DP2104" // error
	CodeAmbiguousGroup = "DP2105" // error: a group is named like a country
	CodeUnknownSubject = "DP2106" // error
	CodeServeAbroad    = "DP2107" // error: serving region across a border, not covered
	CodeEntryAbroad    = "DP2108" // error
	CodeCacheAbroad    = "DP2109" // error
	// CodeLapsed is a warning from Compile and an error for new work: see Refuse.
	CodeLapsed        = "DP2110"
	CodeLapsing       = "DP2111" // warning: ends within 30 days
	CodeMechanism     = "DP2112" // error: no law file lists the mechanism
	CodeNotAdequate   = "DP2113" // error: the law lists no adequacy for the destination
	CodeUnused        = "DP2114" // warning: transfer used by nothing
	CodeNoRule        = "DP2115" // warning: a class of the deployment has no rule
	CodeCarriesNoRule = "DP2116" // warning
	CodeNoIssuer      = "DP2117" // warning: no issuer may name the home
	CodeTwice         = "DP2118" // error: one name defined twice
	CodeHostDisagrees = "DP2119" // warning: a host name's homes are served differently
	CodeNoLaw         = "DP2120" // warning: no law file to check a mechanism against
	CodeReviewDue     = "DP3101" // warning: transfer, jurisdiction or law file
	CodeObserve       = "DP3102" // warning: enforced although the file says observe
	CodeUnknownRegion = "DP4101" // error
	CodeRegionCountry = "DP4103" // error: a region's country is not a country code
	CodeNoBackend     = "DP4104" // warning
	CodeNoPeer        = "DP4105" // warning
	CodeNoKeys        = "DP4106" // warning: an issuer without a key set
	CodeNobodyServes  = "DP4107" // error: a class without subject names no region
	CodeInternal      = "DP9101" // error
)

// Refuse returns the problems as they count for new work (lint, apply): a lapsed
// transfer is an error there. The argument is not changed.
func Refuse(problems []policy.Problem) []policy.Problem {
	out := make([]policy.Problem, len(problems))
	for i, p := range problems {
		if p.Code == CodeLapsed {
			p.Severity = policy.Error
		}
		out[i] = p
	}
	return out
}
