// Package residency is the decision core of Domicile: an immutable table that
// says, for every home jurisdiction and data class, which regions may serve it
// and through which regions' gateways it may enter.
//
// It is pure: no clock, network, environment, logger or goroutine. The instant
// at which transfers lapse is decided by package compile, which writes the
// result into the table's cells; two tables with the same meaning have the same
// Digest, however their sources were ordered.
//
// Everything fails closed. The zero Table denies, an unknown home, class,
// issuer or region denies, and the zero Decision is a denial.
//
// A Table is safe for concurrent use; its methods do not allocate.
package residency
