package residency

// Reason says why a request is refused. The set is closed: the same word stands
// in the response, the metric, the audit record and the console. The empty
// Reason means "allowed"; it appears only in a Decision made by a Table.
type Reason string

// The deny reasons, in the order in which they are tested.
const (
	BadRequest         Reason = "bad-request"
	NoIdentity         Reason = "no-identity"
	BadToken           Reason = "bad-token"
	TwoIdentities      Reason = "two-identities"
	IssuerNotEntitled  Reason = "issuer-not-entitled"
	NoHome             Reason = "no-home"
	NoClass            Reason = "no-class"
	NoRule             Reason = "no-rule"
	Forbidden          Reason = "forbidden"
	EntryNotAllowed    Reason = "entry-not-allowed"
	TransferNotAllowed Reason = "transfer-not-allowed"
	Lapsed             Reason = "lapsed"
	ConsentMissing     Reason = "consent-missing"
	Erased             Reason = "erased"
	WrongHost          Reason = "wrong-host"
	RegionUnavailable  Reason = "region-unavailable"
	NoBackend          Reason = "no-backend"
	NotDecidable       Reason = "not-decidable"
	PolicyTooOld       Reason = "policy-too-old"
)

type reasonInfo struct {
	status int
	title  string
}

var reasons = map[Reason]reasonInfo{
	BadRequest:         {400, "the path, host or a header is ambiguous"},
	NoIdentity:         {401, "no token that says who is calling"},
	BadToken:           {401, "the token does not verify"},
	TwoIdentities:      {401, "the request carries more than one identity"},
	IssuerNotEntitled:  {403, "the token's issuer may not name this home"},
	NoHome:             {403, "nothing says where this user is at home"},
	NoClass:            {403, "no data class covers this request"},
	NoRule:             {403, "the home has no rule for this data class"},
	Forbidden:          {403, "the policy forbids this data class for this home"},
	EntryNotAllowed:    {403, "this region's gateway may not take this request"},
	TransferNotAllowed: {403, "no transfer covers this crossing"},
	Lapsed:             {403, "the transfer that covered this crossing has ended"},
	ConsentMissing:     {403, "the crossing needs a consent that is missing"},
	Erased:             {410, "this user has been erased"},
	WrongHost:          {421, "another host serves this home"},
	RegionUnavailable:  {503, "no allowed region can serve this now"},
	NoBackend:          {503, "the serving region has no backend for this service"},
	NotDecidable:       {503, "this cannot be decided now"},
	PolicyTooOld:       {503, "the policy in force is too old to be trusted"},
}

// Status returns the HTTP status that goes with r; for a Reason outside the
// closed set it is 503, never a success.
func (r Reason) Status() int {
	if i, ok := reasons[r]; ok {
		return i.status
	}
	return 503
}

// Title returns one English sentence for r, without user data.
func (r Reason) Title() string {
	if i, ok := reasons[r]; ok {
		return i.title
	}
	return "this cannot be decided"
}

// Reasons returns the closed set in the order in which reasons are tested.
func Reasons() []Reason {
	return []Reason{
		BadRequest, NoIdentity, BadToken, TwoIdentities, IssuerNotEntitled, NoHome, NoClass, NoRule, Forbidden,
		EntryNotAllowed, TransferNotAllowed, Lapsed, ConsentMissing, Erased, WrongHost, RegionUnavailable, NoBackend,
		NotDecidable, PolicyTooOld,
	}
}
