// Package codes is the registry of the problems that package policy finds: the
// stable codes and what is to be known about each. It is data.
package codes

import (
	"slices"

	"github.com/domicile-dev/domicile/pkg/lang"
)

// The codes of the problems that policy.Parse finds. They are stable. DP1xxx is shape,
// DP2xxx meaning, DP3xxx governance, DP4xxx topology, DP5xxx tests, DP9xxx a bug
// of Domicile; package compile has those whose third digit is 1.
const (
	TooLarge        = "DP1001" // a file, or the directory, is too large
	Encoding        = "DP1002" // the bytes are not plain UTF-8 text
	Syntax          = "DP1003" // the file is not valid YAML
	BoolLike        = "DP1004" // an unquoted word that YAML readers take for true or false
	Feature         = "DP1005" // a feature of YAML that policy files do not have
	DuplicateKey    = "DP1006" // a key stands twice in one map
	Tab             = "DP1007" // a tab
	TooDeep         = "DP1008" // the file nests too deeply or has too many keys
	Documents       = "DP1009" // more than one YAML document in a file
	UnknownField    = "DP1010" // a field that the schema does not have
	Missing         = "DP1011" // a required field is missing
	Shape           = "DP1012" // a value of the wrong shape
	Kind            = "DP1013" // the kind does not fit the file's place
	APIVersion      = "DP1014" // an apiVersion that this version does not read
	Duration        = "DP1015" // a bad duration
	Date            = "DP1016" // a bad date
	Code            = "DP1017" // a code that is not one of a jurisdiction
	Unquoted        = "DP1018" // an unquoted code
	Name            = "DP1019" // a name with characters that names do not have
	Word            = "DP1020" // a word that is not in the closed set
	Address         = "DP1021" // a bad host name or address
	Empty           = "DP1022" // an empty list or text
	Twice           = "DP1023" // one name twice
	NotRead         = "DP1024" // a YAML file that is not read
	Path            = "DP1025" // a bad path
	Unreadable      = "DP1026" // a file that cannot be read
	EmptyFile       = "DP1027" // an empty file
	NoValue         = "DP1028" // a field without a value
	Number          = "DP1029" // a bad number
	Misplaced       = "DP1030" // a field that cannot stand beside another
	TooManyProblems = "DP1099" // there are more problems than are shown
	HomeTwice       = "DP2001" // one home in two files
	LawTwice        = "DP2002" // one law defined twice
	Observe         = "DP2003" // observeUntil without observe
	UnknownClass    = "DP2004" // a class that the deployment does not define
	NoDeployment    = "DP2005" // no deployment
	GroupTwice      = "DP2006" // one group defined twice
	NotCarriedOut   = "DP2007" // a setting that this version does not carry out
	NobodyAsks      = "DP2008" // pins or geoip that no user needs
	FirstContact    = "DP2009" // users whose home nothing can find
	ReviewAfterEnd  = "DP3001" // a review after the end
	RoleUnheld      = "DP3002" // a role that no signer holds
	NoSigners       = "DP3003" // approvals without signers
	WaiverTerm      = "DP3004" // a waiver for too long
	TokenInURL      = "DP3005" // tokens in query strings
	NoKeys          = "DP4001" // the key set of an issuer is missing
	BadKeys         = "DP4002" // the key set of an issuer cannot be used
	PrivateKey      = "DP4003" // a secret in the place of a public key
	SignerKey       = "DP4004" // a signer's key that cannot be used
	SecretHere      = "DP4005" // a secret in the policy directory
	NoPinKeys       = "DP4006" // the pin keys of a region are missing
	PinKey          = "DP4007" // a pin key that cannot be used
	URL             = "DP4008" // a bad URL
	UnknownService  = "DP4009" // a service that no region has
	Expectation     = "DP5002" // a test case that asks or expects nothing, or two things
	DenyReason      = "DP5003" // an unknown deny reason
	Internal        = "DP9001" // a bug of Domicile
)

// Info explains a code.
type Info struct {
	Code  string
	Title lang.Text // one line
	Page  lang.Text // one paragraph
}

var infos = []Info{
	{TooLarge, lang.T("a file, or the directory, is too large"), lang.T("A policy file holds at most 1 MiB, and a directory at most 2,000 policy files. A larger one is named and not parsed: reading it would cost more than any policy is worth. Split it by jurisdiction.")},
	{Encoding, lang.T("the bytes are not plain UTF-8 text"), lang.T("Policy files are UTF-8 without a byte order mark, without NUL or other control characters, and without characters that make text look re-ordered on a screen. What a reviewer sees must be what the machine reads.")},
	{Syntax, lang.T("the file is not valid YAML"), lang.T("The YAML reader could not make sense of the file at this place. Look at the quotes, brackets, colons and the indentation of this line and the one above it.")},
	{BoolLike, lang.T("an unquoted word that YAML readers take for true or false"), lang.T("YAML 1.1 reads NO, no, on, y and others as truth values, so an unquoted NO is Norway to one tool and false to the next. Codes and names that look like this must stand in quotes.")},
	{Feature, lang.T("a feature of YAML that policy files do not have"), lang.T("Anchors, aliases, merge keys, tags and directives let one place in a file change the meaning of another, and let a small file expand to a huge one. Policy files have none of them: write the values out.")},
	{DuplicateKey, lang.T("a key stands twice in one map"), lang.T("YAML readers disagree on which of two equal keys wins, so neither does. The message names both places.")},
	{Tab, lang.T("a tab"), lang.T("YAML forbids tabs for indentation and editors show them differently. Policy files have none at all: use spaces.")},
	{TooDeep, lang.T("the file nests too deeply or has too many keys"), lang.T("Maps and lists nest at most 32 levels, and a file has at most 20,000 keys. No policy needs more; a hostile file would.")},
	{Documents, lang.T("more than one YAML document in a file"), lang.T("Each file holds one document, so that what a file name says is what the file holds. Move the second one to a file of its own.")},
	{UnknownField, lang.T("a field that the schema does not have"), lang.T("Unknown fields are errors: a misspelt field that is silently ignored would leave a rule out. The fix names the nearest known field.")},
	{Missing, lang.T("a required field is missing"), lang.T("The schema needs this field here. Nothing is assumed in its place. The fix shows what a value looks like; the value is yours to choose.")},
	{Shape, lang.T("a value of the wrong shape"), lang.T("A list, a map or a single value was expected, and another stands there.")},
	{Kind, lang.T("the kind does not fit the file's place"), lang.T("law/ holds kind Law, groups.yaml Groups, deployment.yaml Deployment, jurisdictions/ Jurisdiction, waivers/ Waiver, denials.yaml Denials, and *_test.yaml PolicyTest. A file in the wrong place would be read as something that it is not.")},
	{APIVersion, lang.T("an apiVersion that this version does not read"), lang.T("Every file states apiVersion: domicile.dev/v1. A file of a later version may mean what this one does not know, so it is refused.")},
	{Duration, lang.T("a bad duration"), lang.T("Durations are a whole number above zero and one unit: 30s, 10m, 24h, 90d. There are no fractions, signs, blanks or sums.")},
	{Date, lang.T("a bad date"), lang.T("Dates are year-month-day, as in 2027-02-24, and mean midnight UTC at the beginning of that day.")},
	{Code, lang.T("a code that is not one of a jurisdiction"), lang.T("Codes are those of ISO 3166-1 alpha-2 in capitals, special territories that a law file describes (AE-DIFC), and, where the field says so, names of groups (EEA). Lower case, three letters, retired or reserved codes and letters that only look like A to Z are refused, because two spellings of one home are two homes to a machine.")},
	{Unquoted, lang.T("an unquoted code"), lang.T("Codes are always quoted, so that nobody has to know which of them (NO) some YAML readers turn into false. Warning only: this code is read rightly.")},
	{Name, lang.T("a name with characters that names do not have"), lang.T("Names of regions, classes and services are lower-case letters, digits and hyphens; ids may also hold capitals, dots and underscores. Only ASCII: a look-alike letter would make a second name that nobody can tell from the first.")},
	{Word, lang.T("a word that is not in the closed set"), lang.T("This field takes one of a few words; the message lists them.")},
	{Address, lang.T("a bad host name or address"), lang.T("A host is a name without scheme, port or path; an address is host:port with a port from 1 to 65535, and IPv6 in brackets.")},
	{Empty, lang.T("an empty list or text"), lang.T("The field is there and says nothing. Only serve: [] of a rule may be empty: it forbids the class.")},
	{Twice, lang.T("one name twice"), lang.T("Two entries with one name leave open which of them counts. The message names both places.")},
	{NotRead, lang.T("a YAML file that is not read"), lang.T("The file, or a directory that is named like one, lies in the policy directory but has no place in its layout, so nothing in it counts. Warning only; move or rename it, lest somebody believe that it does.")},
	{Path, lang.T("a bad path"), lang.T("Paths of requests are absolute and normalised, without escapes; paths of files lie inside the policy directory.")},
	{Unreadable, lang.T("a file that cannot be read"), lang.T("The file is there but could not be opened or read to its end. A policy is applied whole or not at all.")},
	{EmptyFile, lang.T("an empty file"), lang.T("The file holds no document.")},
	{NoValue, lang.T("a field without a value"), lang.T("A key stands there and nothing after it. To say nothing, leave the line out; to take the defaults, write {}.")},
	{Number, lang.T("a bad number"), lang.T("A whole number without quotes, sign or fraction was expected.")},
	{Misplaced, lang.T("a field that cannot stand beside another"), lang.T("The fields contradict each other, or one needs another that is not there; the message says which.")},
	{TooManyProblems, lang.T("there are more problems than are shown"), lang.T("One run reports at most 1,000 problems. Mend these first.")},
	{HomeTwice, lang.T("one home in two files"), lang.T("All rules of a home stand in one file, so that whoever reads it has read them all.")},
	{LawTwice, lang.T("one law defined twice"), lang.T("The library in the binary, or another file, already describes this law, and differently. A copy identical to the shipped one is accepted; a different one is not, because a citation must mean one text.")},
	{Observe, lang.T("observeUntil without observe"), lang.T("observeUntil is the date at which enforcement: observe ends. Beside enforcement: enforce it would say that the policy is not enforced, and it is.")},
	{UnknownClass, lang.T("a class that the deployment does not define"), lang.T("Classes are defined by the routes of deployment.yaml (class, and carries). A rule, transfer or test for another class would never apply.")},
	{NoDeployment, lang.T("no deployment"), lang.T("A policy directory needs deployment.yaml: it says which regions, classes and issuers there are.")},
	{GroupTwice, lang.T("one group defined twice"), lang.T("A group has one list of members. One that equals the shipped one is accepted; define others under names of their own.")},
	{NotCarriedOut, lang.T("a setting that this version does not carry out"), lang.T("The setting is read and checked, and nothing happens because of it. Whoever relies on it would be wrong, so each of them is named. Warning only: it changes no decision.")},
	{NobodyAsks, lang.T("pins or geoip that no user needs"), lang.T("Pins are for users whose home no token names, or whose tokens Envoy cannot read; addresses are looked at for them alone. Where every token of every issuer names its home, neither has anything to do. Warning only.")},
	{FirstContact, lang.T("users whose home nothing can find"), lang.T("A token that Envoy cannot read, or that names no home, is taken to the agent at the first contact. The agent needs a source of homes (homeClaim, countryClaim, or a directory), and pins, which carry what it found from then on: without them each request would ask again. GeoIP is no source: it only proposes.")},
	{ReviewAfterEnd, lang.T("a review after the end"), lang.T("The transfer ends (until) before it is to be reviewed (reviewBy): the review would come too late. Warning only.")},
	{RoleUnheld, lang.T("a role that no signer holds"), lang.T("approvals names the roles that must sign an action, each by a signer of its own. Where nobody holds a role, or one person holds them all, the action could never be approved.")},
	{NoSigners, lang.T("approvals without signers"), lang.T("approvals binds only where signers are listed: without their public keys no signature can be checked. Warning only: every change is applied as if approvals were not there.")},
	{WaiverTerm, lang.T("a waiver for too long"), lang.T("A waiver excuses a finding for at most 90 days. Whatever takes longer is no exception but a choice: mend the policy, or renew the waiver with a new approval.")},
	{TokenInURL, lang.T("tokens in query strings"), lang.T("A query string is written down by proxies, load balancers and browsers on its way. Domicile keeps it out of its own logs and strips the token at the last hop; what others write down it cannot keep. Some IM clients know no other way: keep the lifetime of such tokens short. Warning only.")},
	{NoKeys, lang.T("the key set of an issuer is missing"), lang.T("The file that jwks.file names does not exist, so no token of this issuer verifies: all of its users are refused. Warning only: the demo and other overlays bring keys of their own.")},
	{BadKeys, lang.T("the key set of an issuer cannot be used"), lang.T("A key set, in a file or inline, is a JSON object with a list of keys as in RFC 7517.")},
	{PrivateKey, lang.T("a secret in the place of a public key"), lang.T("A key set, or the key of a signer, is or holds a private or symmetric key. It would become part of the bundle that every region reads, and whoever reads it could make tokens of any home, or sign in the signer's name. Replace the key: it has been written down.")},
	{SignerKey, lang.T("a signer's key that cannot be used"), lang.T("The key of a signer is the base64 of a public key in DER (SubjectPublicKeyInfo), Ed25519 or ECDSA on P-256. Other kinds, PEM, and bare key bytes are refused, so that every version checks a signature alike.")},
	{SecretHere, lang.T("a secret in the policy directory"), lang.T("The policy directory goes to git, to reviewers and into bundles that every region reads. Symmetric keys, passwords and client secrets are named by the absolute path of a file on the machines that need it, and nowhere else: whoever holds a symmetric key can make tokens of any home of its issuer.")},
	{NoPinKeys, lang.T("the pin keys of a region are missing"), lang.T("Pins are issued, and the region has no public keys for them, so that nothing its agents issue verifies: its users are looked up at each connection. Warning only: the demo and other overlays bring keys of their own.")},
	{PinKey, lang.T("a pin key that cannot be used"), lang.T("Pins are signed with Ed25519 or ECDSA on P-256. Each public key has a kid that no other region uses, so that a pin is verified by the key of the region that issued it.")},
	{URL, lang.T("a bad URL"), lang.T("Keys, introspection and directories are reached by absolute https URLs without user, password and fragment. Plain http is accepted for introspection and directories on the machine itself only.")},
	{UnknownService, lang.T("a service that no region has"), lang.T("A stream, or whoami of an issuer, names a service by the name that the backends of the regions have. None has this one.")},
	{Expectation, lang.T("a test case that asks or expects nothing, or two things"), lang.T("A case asks one question and expects its answer: entry asks where a request is served (expect allow: a region, or deny: a reason), edge and field whether an edge may hold a field (expect cache: a duration, or none), to and for which transfer covers a crossing (expect transfer: an id, or deny: a reason).")},
	{DenyReason, lang.T("an unknown deny reason"), lang.T("Deny reasons are a closed set; the same words stand in responses, metrics and the audit log.")},
	{Internal, lang.T("a bug of Domicile"), lang.T("Reading ended in a bug. Nothing was applied. Please report it together with the file.")},
}

// All returns all codes that policy.Parse may report, sorted.
func All() []Info { return slices.Clone(infos) }

// Explain returns what is to be known about a code.
func Explain(code string) (Info, bool) {
	i := slices.IndexFunc(infos, func(c Info) bool { return c.Code == code })
	if i < 0 {
		return Info{}, false
	}
	return infos[i], true
}
