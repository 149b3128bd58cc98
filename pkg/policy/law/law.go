// Package law is the model of law files: facts about jurisdictions with their
// sources (articles, duties, mechanisms, deadlines), and dated groups of
// jurisdictions. Law files ship with Domicile and never name regions; what an
// operator chooses is in package policy, which reads files and calls the readers
// here.
//
// The package is pure. Readers report what is wrong through their form.Reader and
// go on; what they return then lacks the faulty part.
package law

import (
	"time"

	"github.com/domicile-dev/domicile/pkg/policy/source"
)

// Mechanisms is the closed set of ways in which a law lets data leave. It must not
// be changed.
var Mechanisms = []string{"adequacy", "scc", "bcr", "certification", "consent", "approval", "derogation"}

// Law is one law file: facts with sources. It never names regions.
type Law struct {
	Code  string // jurisdiction code: "SA", "EU"
	Title string
	// Articles are the ids that a basis may name: pdpl-29.
	Articles map[string]Article
	// Duty is required, conditional, recommended, none or unclear.
	Duty string
	// Mechanisms that the law knows for a transfer: adequacy, scc, bcr, …
	Mechanisms []string
	// Adequate lists destinations (codes or groups) that need no reference.
	Adequate []string
	// SeparateTerritory marks a special territory whose country is abroad.
	SeparateTerritory bool
	// Country is the country in which a special territory lies: AE for AE-DIFC.
	Country  string
	ReviewBy time.Time
	Pos      source.Pos

	// NotLaw marks a file whose law is not in force: a bill.
	NotLaw bool
	// FreeFlow says on which terms data may leave without any of Mechanisms, or
	// that no rule was found; nil where the law asks for one.
	FreeFlow *Fact

	// What follows is for explain and notice; nothing is decided by it.
	TitleZh, Citation       string
	TitlesLocal             []LocalTitle // in the jurisdiction's own languages; none in English
	Effective               string       // as published: "2023-09-14; enforceable 2024-09-14"
	Adds                    string       // the law that this one adds to: EU
	Localisation            Localisation
	MechanismFacts          []MechanismFact
	ExportLimits            []ExportLimit
	Breach                  *Breach
	DSR                     *DSR
	Minors                  *Minors
	Retention, LawfulAccess *Fact
	Notes, Pending          []string
	Unverified              []string
	Confidence              string // high, medium, low
	SourcesOfficial         []string
	SourcesPublished        []string
}

// LocalTitle is a title in a language of the jurisdiction; Lang is a canonical
// BCP 47 tag.
type LocalTitle struct {
	Lang, Title string
}

// Localisation says what a law demands about the place of data.
type Localisation struct {
	// Duty is required (of an ordinary messaging service), conditional (once
	// Trigger is met), recommended, none or unclear, which is no duty.
	Duty string
	// Keeps says what must be in the country: copy (copies abroad are not
	// forbidden as such) or only. It is empty where the law names no form.
	Keeps                              string
	Scope, Trigger, Citation, Verified string
	// Classes holds the levels of Duty by data class: message, metadata, profile,
	// relation, contacts, payment, biometric, minors.
	Classes  map[string]string
	Variants []Variant
}

// Variant is a localisation duty of some operators only.
type Variant struct {
	AppliesTo, Duty, Keeps, Trigger, Citation string
}

// ExportLimit forbids or restricts exports to some destinations.
type ExportLimit struct {
	Citation, Condition, Verified string
	Destinations                  []source.Text // codes or groups
}

// MechanismFact is one way in which a law lets data leave.
type MechanismFact struct {
	Mechanism, Citation, Condition, Verified string
	Destinations                             []source.Text // codes or groups
}

// Breach holds the deadlines after a breach.
type Breach struct {
	AuthorityHours  int    // 0: the law names no number of hours
	AuthorityText   string // instead of, or beside, a number
	Users, Citation string
	Verified        string
}

// DSR holds the deadlines for requests of data subjects; 0 days means that the
// law names no number.
type DSR struct {
	AccessDays, ErasureDays  int
	Portability              bool
	Citation, Note, Verified string
}

// Minors holds the age below which a guardian decides; 0 where the law names none.
type Minors struct {
	Age                      int
	Citation, Note, Verified string
}

// Fact is a statement with its citation.
type Fact struct {
	Text, Citation, Verified string
}

// Article is one citation.
type Article struct {
	ID       string
	Citation string
	Says     string
	Source   string
	Verified string // published_page, mixed or knowledge
}

// Group is a dated set of jurisdictions.
type Group struct {
	Name         string
	Title        string
	Members      []GroupMember
	FreeMovement bool // inside it no border is crossed
	Pos          source.Pos
}

// GroupMember is one row; Since and Until are zero where open.
type GroupMember struct {
	Code         string
	Since, Until time.Time
	Source       string
}
