// Package exit holds the exit codes of the command line, which scripts rely on,
// and the errors that carry them. It has no state.
package exit

import (
	"errors"
	"fmt"
)

// The exit codes of every command.
const (
	Done        = 0   // done, nothing found
	Findings    = 1   // something is wrong: in a file, a test, a live Envoy, the deployment
	Usage       = 2   // a wrong command line, or a path that cannot be opened
	Changes     = 3   // changes are present, where a flag asks for this code
	Unreachable = 4   // the control plane, the store or an Envoy does not answer
	Forbidden   = 5   // not permitted
	Stale       = 6   // somebody else changed the policy meanwhile
	Bug         = 70  // a bug in Domicile
	Interrupted = 130 // interrupted
)

// Error is an error with its exit code.
type Error struct {
	Code int
	Err  error
}

// Error is the cause's text.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode returns the code.
func (e *Error) ExitCode() int { return e.Code }

// Errorf is fmt.Errorf with an exit code.
func Errorf(code int, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// Silent is the error of a command that has already said what is wrong.
type Silent int

// Error is for programmers; no user sees it.
func (s Silent) Error() string { return fmt.Sprintf("exit %d", int(s)) }

// ExitCode returns the code.
func (s Silent) ExitCode() int { return int(s) }

// Code returns the exit code of an error: that of the first error in its chain
// with a method ExitCode. One that says nothing of a code, such as a demo that
// could not start, is a finding.
func Code(err error) int {
	if err == nil {
		return Done
	}
	var c interface{ ExitCode() int }
	if errors.As(err, &c) {
		return c.ExitCode()
	}
	return Findings
}
