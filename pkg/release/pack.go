package release

import (
	"fmt"
	"io/fs"

	"github.com/domicile-dev/domicile/pkg/bundle"
	"github.com/domicile-dev/domicile/pkg/policy"
	"github.com/domicile-dev/domicile/policies"
)

// Pack makes the bundle of a policy directory: the files that count, and no
// others. It is nil when reading them found errors, which are among the problems;
// whether they compile is not asked.
func Pack(fsys fs.FS) (*bundle.Bundle, []policy.Problem, error) {
	set, problems := policy.Parse(fsys, policies.Shipped())
	if policy.HasErrors(problems) {
		return nil, problems, nil
	}
	b, err := bundle.New(set.Files)
	if err != nil {
		return nil, problems, fmt.Errorf("pack the policies: %w", err)
	}
	return b, problems, nil
}
