package script

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// readYAML reads a file of this repository.
func readYAML(t testing.TB, into any, path ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, into); err != nil {
		t.Fatalf("%v: %v", path, err)
	}
}

// gitlabScripts returns the script of each job of the GitLab template.
func gitlabScripts(t testing.TB) map[string]string {
	t.Helper()
	var template map[string]struct {
		Extends string   `yaml:"extends"`
		Script  []string `yaml:"script"`
		Before  []string `yaml:"before_script"`
	}
	readYAML(t, &template, ".gitlab", "policy.gitlab-ci.yml")
	out := map[string]string{}
	for name, job := range template {
		if len(job.Script) > 0 {
			out[name] = strings.Join(append(template[job.Extends].Before, job.Script...), "\n") + "\n"
		}
	}
	if len(out) != 3 {
		t.Fatalf("jobs: %v", out)
	}
	return out
}

// TestPreCommitHooks: each hook runs a command that exists.
func TestPreCommitHooks(t *testing.T) {
	var hooks []struct {
		ID            string   `yaml:"id"`
		Language      string   `yaml:"language"`
		Entry         string   `yaml:"entry"`
		Args          []string `yaml:"args"`
		PassFilenames bool     `yaml:"pass_filenames"`
	}
	readYAML(t, &hooks, ".pre-commit-hooks.yaml")
	for i, id := range []string{"domicile-fmt", "domicile-lint", "domicile-test"} {
		h := hooks[i]
		if h.ID != id || h.Language != "golang" || h.Entry != "domicile "+strings.TrimPrefix(id, "domicile-") || len(h.Args) != 1 || h.PassFilenames {
			t.Errorf("%+v", h)
		}
	}
}

// TestAction: the action has what its scripts ask for, and they can be run.
func TestAction(t *testing.T) {
	var action struct {
		Inputs map[string]struct{ Description, Default string } `yaml:"inputs"`
		Runs   struct {
			Using string `yaml:"using"`
			Steps []struct {
				Uses, Run, Shell string
				Env              map[string]string
			} `yaml:"steps"`
		} `yaml:"runs"`
	}
	readYAML(t, &action, ".github", "actions", "policy", "action.yml")
	if action.Runs.Using != "composite" {
		t.Errorf("%+v", action)
	}
	for name, in := range action.Inputs {
		if in.Description == "" {
			t.Errorf("input %s says nothing", name)
		}
	}
	for _, step := range action.Runs.Steps {
		script, ok := strings.CutPrefix(step.Run, "$GITHUB_ACTION_PATH/")
		if !ok {
			continue
		}
		path := filepath.Join("..", "..", ".github", "actions", "policy", script)
		if info, err := os.Stat(path); err != nil || info.Mode()&0o100 == 0 {
			t.Errorf("%s cannot be run: %v", script, err)
		}
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range step.Env {
			if name != "GH_TOKEN" && name != "DOMICILE_LANG" && !strings.Contains(string(body), name) {
				t.Errorf("%s does not use %s", script, name)
			}
			if in, ok := strings.CutPrefix(value, "${{ inputs."); ok {
				in, _, _ = strings.Cut(strings.TrimSuffix(in, " }}"), " ")
				if _, known := action.Inputs[in]; !known {
					t.Errorf("%s: no input %q", name, in)
				}
			}
		}
	}
}
