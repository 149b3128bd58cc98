package compile

import (
	"slices"

	"github.com/domicile-dev/domicile/pkg/lang"
	"github.com/domicile-dev/domicile/pkg/policy"
)

// The codes of the problems that Compile finds. They are stable: DP21xx is
// meaning, DP31xx governance, DP41xx topology, DP91xx a bug in Domicile. Package
// policy has those whose third digit is 0.
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
	CodeDutyShortfall = "DP2121" // error: a law requires that data be kept in its country
	// CodeUnreachableRule is a warning: a rule for requests that belong to nobody.
	CodeUnreachableRule = "DP2122"
	CodeUnknownHome     = "DP2123" // error
	CodeSecretAbroad    = "DP2124" // error: a symmetric key where not every home of its issuer is served
	CodeDirectoryAbroad = "DP2125" // warning: a directory across a border, not covered
	CodeReviewDue       = "DP3101" // warning: transfer, jurisdiction or law file
	// CodeReviewAhead is a warning from Compile and an error for new work: see Refuse.
	CodeReviewAhead     = "DP3103"
	CodeNoBasis         = "DP3104" // warning: a rule without a basis
	CodeNoReviewDate    = "DP3105" // warning: a transfer without reviewBy
	CodeNoTranslation   = "DP3106" // warning: the Chinese title of a law is missing or stale
	CodeNotInForce      = "DP3110" // warning: a law file whose law is a bill
	CodeExportLimit     = "DP3111" // warning: a transfer to where a law limits exports
	CodeNotEnforced     = "DP3120" // warning: under observation
	CodeObserveEnds     = "DP3121" // warning: observation ends within 30 days
	CodeObserved        = "DP3122" // warning: observation has ended
	CodeObserveLong     = "DP3123" // warning: observation for more than a year
	CodeWaiverForbidden = "DP3130" // error: the deployment allows no waivers
	CodeNotWaivable     = "DP3131" // error
	CodeWaiverUnused    = "DP3132" // warning
	// CodeWaiverEnded is a warning from Compile and an error for new work: see Refuse.
	CodeWaiverEnded    = "DP3133"
	CodeWaiverApprover = "DP3134" // error: approved by nobody whose signature counts
	CodeWaiverEnding   = "DP3135" // warning: ends within 30 days
	CodeUnknownRegion  = "DP4101" // error
	CodeRegionCountry  = "DP4103" // error: a region's country is not a country code
	CodeNoBackend      = "DP4104" // warning
	CodeNoPeer         = "DP4105" // warning
	CodeNobodyServes   = "DP4107" // error: a class without subject names no region
	CodeSharedAddress  = "DP4108" // warning: one address in two regions
	CodeOpenShadows    = "DP4109" // error: a class that needs no token takes the requests of one that does
	CodeOddIssuer      = "DP4110" // error: an issuer that no header can carry
	CodeNoToday        = "DP4111" // error: observation without a backend of today
	CodeShadowedRoute  = "DP4112" // warning: an earlier route takes all of its requests
	CodeInternal       = "DP9101" // error
)

// Refuse returns the problems as they count for new work (lint, apply): a lapsed
// transfer, a waiver that has ended and a review that has not been yet are errors
// there. What is in force is recompiled in spite of them, even by a clock that is wrong. The argument is
// not changed.
func Refuse(problems []policy.Problem) []policy.Problem {
	out := make([]policy.Problem, len(problems))
	for i, p := range problems {
		if (p.Code == CodeLapsed || p.Code == CodeReviewAhead || p.Code == CodeWaiverEnded) && p.Waiver == "" {
			p.Severity = policy.Error
		}
		out[i] = p
	}
	return out
}

// Loud lists the warnings that no comment may hide: that a home's policy is not
// enforced, or was not until now, stays in sight.
func Loud() []string {
	return []string{CodeNotEnforced, CodeObserveEnds, CodeObserveLong, CodeObserved}
}

var codeInfos = []policy.CodeInfo{
	{Code: CodeNoDeployment, Title: lang.T("no deployment"), Page: lang.T("Without a deployment there are no regions, classes or issuers, so nothing can be compiled.")},
	{Code: CodeUnknownClass, Title: lang.T("a class that the deployment does not define"), Page: lang.T("Classes are defined by the routes of deployment.yaml (class, and carries). A rule or transfer for another class would never apply.")},
	{Code: CodeUnknownPlace, Title: lang.T("neither a group nor a code"), Page: lang.T("A transfer goes to codes of countries and special territories, or to groups that groups.yaml defines. A name that is neither would cover nothing.")},
	{Code: CodeUnknownLaw, Title: lang.T("a law file that does not exist"), Page: lang.T("law: names law files by their codes. The library ships some; add a file under law/ for others, so that articles and mechanisms can be checked.")},
	{Code: CodeUnknownBasis, Title: lang.T("a basis that no law file of the jurisdiction has"), Page: lang.T("A basis is chosen (the operator's own choice), or the id of an article in one of the jurisdiction's law files.")},
	{Code: CodeAmbiguousGroup, Title: lang.T("a group named like a jurisdiction"), Page: lang.T("A transfer to that name would mean two things, and the wider one would let more data out than its author meant.")},
	{Code: CodeUnknownSubject, Title: lang.T("an unknown subject"), Page: lang.T("The subject says whose home governs: caller, path.user, host or none.")},
	{Code: CodeServeAbroad, Title: lang.T("a serving region across a border"), Page: lang.T("A region that may serve a home's data, as failover too, lies in another territory, and no transfer covers that class to that country for the purpose serve. Inside the home's country, and inside a group of free movement, no border is crossed.")},
	{Code: CodeEntryAbroad, Title: lang.T("an entry region across a border"), Page: lang.T("The gateway of an entry region decrypts. Where it lies in another territory, a transfer must cover that class to that country for the purpose entry.")},
	{Code: CodeCacheAbroad, Title: lang.T("a cache edge across a border"), Page: lang.T("An edge in another territory holds copies. A transfer must cover that class to that country for the purpose cache.")},
	{Code: CodeLapsed, Title: lang.T("a transfer has ended"), Page: lang.T("At the instant of until (or when a member leaves the group through which a crossing was covered) the crossing is refused as lapsed. New work that still holds it is refused; what is in force is recompiled all the same, so that nothing keeps flowing and nothing else is blocked.")},
	{Code: CodeLapsing, Title: lang.T("a transfer ends within 30 days"), Page: lang.T("At the instant of until, what the transfer covers is refused as lapsed. Renew it before.")},
	{Code: CodeMechanism, Title: lang.T("a mechanism that the law files do not list"), Page: lang.T("Each law file lists the ways in which its law lets data leave. A transfer must rest on one of them.")},
	{Code: CodeNotAdequate, Title: lang.T("a destination that is not adequate"), Page: lang.T("Adequacy covers the destinations that the law file lists, for as long as they are listed, and no others.")},
	{Code: CodeUnused, Title: lang.T("a transfer that nothing uses"), Page: lang.T("No rule crosses a border by it. A permission without a use is one that nobody reviews; remove it.")},
	{Code: CodeNoRule, Title: lang.T("a class without a rule"), Page: lang.T("The deployment has a class for which the jurisdiction has no rule: its requests are refused as no-rule. If that is meant, write serve: [].")},
	{Code: CodeCarriesNoRule, Title: lang.T("a stream that carries a class without a rule"), Page: lang.T("The strictest rule of all classes that a stream carries governs it; where one has no rule, the stream is refused as no-rule.")},
	{Code: CodeNoIssuer, Title: lang.T("a home that no issuer may name"), Page: lang.T("No token can carry this home, so its rules govern nobody.")},
	{Code: CodeTwice, Title: lang.T("one name defined twice"), Page: lang.T("Two entries with one name leave open which of them counts. The message names the first.")},
	{Code: CodeHostDisagrees, Title: lang.T("a host name whose homes disagree"), Page: lang.T("A class with the subject host is governed by the homes that the region of the host name serves first. Where they are served by different regions, nothing says whose home governs, and the request is refused as no-home.")},
	{Code: CodeNoLaw, Title: lang.T("a mechanism that was not checked"), Page: lang.T("No law file applies to the jurisdiction, so nothing says whether the law knows the transfer's mechanism.")},
	{Code: CodeDutyShortfall, Title: lang.T("a choice that falls short of a law's duty"), Page: lang.T("A law file of the jurisdiction says that the data of this class is to be kept in its country: a copy (then the region that serves first lies there), or no copy elsewhere (then every serving region and cache edge does). A waiver may carry the choice for at most 90 days; when it ends, what it carried is refused as lapsed.")},
	{Code: CodeUnreachableRule, Title: lang.T("a rule that is never asked"), Page: lang.T("All routes of the class have the subject none: its requests carry nobody's data, and no home's rule governs them. The rule promises what nothing carries out.")},
	{Code: CodeUnknownHome, Title: lang.T("an unknown home"), Page: lang.T("A denial holds for a home that has rules or that an issuer may name, and a waiver for one that has rules. For any other it would do nothing.")},
	{Code: CodeSecretAbroad, Title: lang.T("a symmetric key where not every home of its issuer is served"), Page: lang.T("Tokens of this issuer are verified with the key that they are signed with, so whoever can verify them can also make them, for every home that the issuer may name. The key may lie only in regions that serve all of these homes; Make an issuer with a key of its own for each set of homes.")},
	{Code: CodeDirectoryAbroad, Title: lang.T("a directory across a border"), Page: lang.T("The directory maps keyed hashes of user ids to homes, which is personal data. Whether it is static, redis or http, all agents ask the same one, so what it says is at hand in every region, at first contacts. Where a region lies across a border, a transfer with directory among its purposes has to cover it. Warning only: what is kept where, inside the directory, no file says.")},
	{Code: CodeReviewDue, Title: lang.T("a review is overdue"), Page: lang.T("The review date of a transfer, a jurisdiction or a law file has passed. Reviews warn; only until denies.")},
	{Code: CodeReviewAhead, Title: lang.T("a review in the future"), Page: lang.T("review.last says when the jurisdiction was last reviewed. A date that has not come anywhere on earth records no review, and would put off the next one.")},
	{Code: CodeNoBasis, Title: lang.T("a rule without a basis"), Page: lang.T("basis says why a rule is as it is: articles of the jurisdiction's law files, or chosen for the operator's own choice. Without one, nobody can tell whether the rule may be changed.")},
	{Code: CodeNoReviewDate, Title: lang.T("a transfer that nobody reviews"), Page: lang.T("A permission to cross a border is looked at again by a date: reviewBy. Without one it outlives its reason.")},
	{Code: CodeNoTranslation, Title: lang.T("a title whose translation is missing or stale"), Page: lang.T("Law files in use have a title in English and in Chinese. Where the two name different years, one of them was changed without the other.")},
	{Code: CodeNotInForce, Title: lang.T("a law that is not in force"), Page: lang.T("The law file holds a bill, or a law that does not apply yet (status: not_law), so that its progress can be followed. Nothing follows from it, and citing it as the reason of a rule would be wrong.")},
	{Code: CodeExportLimit, Title: lang.T("a destination to which a law limits exports"), Page: lang.T("A law file of the jurisdiction names destinations to which data may not be exported, or only within limits. Whether they reach a transfer depends on the kind of data, its volume and the recipient, which policy files do not say: look at the condition that is cited. Warning only.")},
	{Code: CodeNotEnforced, Title: lang.T("a policy that is not enforced"), Page: lang.T("enforcement: observe lets pass to today's backends, and counts, what the policy refuses. Until its date nothing keeps this home's data where the policy says. It is for adopting Domicile; compare the counts (domicile plan --observed) and enforce.")},
	{Code: CodeObserveEnds, Title: lang.T("an observation ends within 30 days"), Page: lang.T("At the instant of observeUntil the policy is enforced, on all replicas at once: what passed until then is refused, and the sessions that it opened are closed. Look at what passes now.")},
	{Code: CodeObserved, Title: lang.T("an observation that has ended"), Page: lang.T("observeUntil has passed, so the policy is enforced. The file still says observe; write enforce, lest somebody believe it.")},
	{Code: CodeObserveLong, Title: lang.T("an observation for more than a year"), Page: lang.T("observe is for adopting Domicile. A date more than a year ahead keeps the promise that data stays at home switched off for as long.")},
	{Code: CodeWaiverForbidden, Title: lang.T("a waiver where none is allowed"), Page: lang.T("Waivers are off unless deployment.yaml says waivers: {allow: true}.")},
	{Code: CodeNotWaivable, Title: lang.T("a finding that cannot be waived"), Page: lang.T("A waiver excuses findings of governance and a duty's shortfall; the message lists their codes. The form of files, borders and leaks cannot be waived.")},
	{Code: CodeWaiverUnused, Title: lang.T("a waiver that excuses nothing"), Page: lang.T("There is no finding in its scope, so it only waits for one to excuse. Remove it.")},
	{Code: CodeWaiverEnded, Title: lang.T("a waiver has ended"), Page: lang.T("At the instant of until a waiver excuses nothing any more. Where it carried a shortfall of a duty, those cells are refused as lapsed, on all replicas. New work that still holds it is refused; what is in force is recompiled all the same.")},
	{Code: CodeWaiverApprover, Title: lang.T("a waiver approved by nobody whose signature counts"), Page: lang.T("Where the deployment lists signers, approvedBy names some of them.")},
	{Code: CodeWaiverEnding, Title: lang.T("a waiver ends within 30 days"), Page: lang.T("At the instant of until it excuses nothing any more. Mend before what it excuses.")},
	{Code: CodeUnknownRegion, Title: lang.T("an unknown region"), Page: lang.T("Regions are defined in deployment.yaml. The fix names the nearest one.")},
	{Code: CodeRegionCountry, Title: lang.T("a region whose country is no country"), Page: lang.T("A region lies in exactly one country; borders are judged by it.")},
	{Code: CodeNoBackend, Title: lang.T("a serving region without a backend"), Page: lang.T("The region may serve the class but has no backend for its service: requests are refused as no-backend.")},
	{Code: CodeNoPeer, Title: lang.T("a serving region that others cannot reach"), Page: lang.T("The region has no gateway.peer, so requests that enter elsewhere cannot reach it.")},
	{Code: CodeNobodyServes, Title: lang.T("a class without subject and without regions"), Page: lang.T("A class without personal data is served by the regions that it names; it names none.")},
	{Code: CodeSharedAddress, Title: lang.T("one address in two regions"), Page: lang.T("A backend's address is dialled from its own region only, so two regions with networks of their own may both use it. In one network it is one machine, and it cannot lie in two places.")},
	{Code: CodeOpenShadows, Title: lang.T("a class that needs no token takes the requests of one that does"), Page: lang.T("The first match wins. A route of subject none or host that covers a later route of subject caller or path.user serves those requests without asking whose they are. Put it after them, or make its match narrower.")},
	{Code: CodeOddIssuer, Title: lang.T("an issuer with characters that no header carries"), Page: lang.T("The issuer of a verified token travels in a header from one of Envoy's decisions to the next. Spaces, control characters and letters beyond ASCII do not.")},
	{Code: CodeNoToday, Title: lang.T("observation without a backend of today"), Page: lang.T("What the policy of a home under observation refuses goes to the backends that served before Domicile: today: of the deployment, by service. Every service that a caller's request can ask for needs one.")},
	{Code: CodeShadowedRoute, Title: lang.T("a route that is never reached"), Page: lang.T("The first match wins, and an earlier route takes every request of this one. Put it before, or remove it.")},
	{Code: CodeInternal, Title: lang.T("a bug of Domicile"), Page: lang.T("Compiling ended in a bug. Nothing was applied. Please report it together with the files.")},
}

// Codes explains all codes that Compile may report, sorted.
func Codes() []policy.CodeInfo { return slices.Clone(codeInfos) }
