// Package compile turns a policy set into what the rest of Domicile runs on: the
// residency table (what is allowed) and the topology (where things run).
//
// Compile is an ordered list of small passes over one input. Each pass judges one
// thing, adds the problems that it finds and goes on, so that an author sees all of
// them at once. It is all or nothing: one error, and there is no result.
//
// Time is an argument. A transfer that has ended by then does not stop a
// compilation, because recompiling, denying and tightening must always work: its
// cells become lapsed (and are refused at run time), and the problem carries
// CodeLapsed as a warning. Whoever takes in new work calls Refuse, which makes an
// error of it. Result.NextBoundary says when to compile again.
//
// Two sets with the same meaning give tables with the same digest, in whatever
// order their files and lists were written.
//
// The package is pure and safe for concurrent use. It trusts policy.Parse for the
// shape of values but never panics on a set that is partly filled.
package compile
