package arch

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// lintRules are the tables of arrows and of libraries as golangci-lint's depguard
// needs them, which shows a wrong import in the editor, before any test runs.
func lintRules() (rules []string) {
	for _, a := range arrows() {
		name := cmp.Or(strings.ReplaceAll(a.from, "/", "-"), "root")
		lines := []string{
			fmt.Sprintf("        %s:", name),
			"          list-mode: lax",
			fmt.Sprintf("          files: [%q, %q]", lintFiles(a.from), "!$test"),
			fmt.Sprintf("          deny: [{pkg: %s, desc: this arrow points the wrong way}]", root),
		}
		if len(a.imports) > 0 {
			lines = append(lines, "          allow:")
		}
		for _, to := range a.imports {
			lines = append(lines, fmt.Sprintf("            - %s$", path.Join(root, to)))
		}
		rules = append(rules, strings.Join(lines, "\n")+"\n")
	}
	for _, l := range libraries() {
		files := []string{`"$all"`}
		for _, p := range l.only {
			files = append(files, fmt.Sprintf("%q", "!"+lintFiles(p)))
		}
		if l.tests {
			files = append(files, `"!$test"`)
		}
		lines := []string{
			fmt.Sprintf("        %s:", l.name),
			"          list-mode: lax",
			fmt.Sprintf("          files: [%s]", strings.Join(files, ", ")),
			"          deny:",
		}
		for _, p := range l.paths {
			lines = append(lines, fmt.Sprintf("            - {pkg: %s, desc: %s}", p, l.why))
		}
		rules = append(rules, strings.Join(lines, "\n")+"\n")
	}
	return rules
}

// lintFiles is the pattern of a package's files.
func lintFiles(pkg string) string { return path.Join("${config-path}", pkg, "*.go") }

func missingLintRules(m *module) (found []violation) {
	const name = ".golangci.yml"
	config, err := fs.ReadFile(m.tree, name)
	if err != nil {
		return []violation{{file: name, msg: err.Error()}}
	}
	for _, rule := range lintRules() {
		if !bytes.Contains(config, []byte(rule)) {
			found = append(found, violation{file: name, msg: "the rules of depguard lack\n" + rule})
		}
	}
	return found
}

func missingLintRuleSeeds() []seed {
	rules := lintRules()
	all := strings.Join(rules, "")
	widened := strings.Replace(all, "            - "+root+"/wire$\n", "            - "+root+"\n", 1)
	return []seed{
		{
			name:  "a rule that allows more than the table",
			files: map[string]string{".golangci.yml": widened},
			want:  []string{".golangci.yml:0: the rules of depguard lack\n" + rules[0]},
		},
		{
			name:  "a rule is missing",
			files: map[string]string{".golangci.yml": strings.Replace(all, rules[1], "", 1)},
			want:  []string{".golangci.yml:0: the rules of depguard lack\n" + rules[1]},
		},
	}
}
