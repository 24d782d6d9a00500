package main

import (
	"fmt"
	"os"

	"github.com/netra-systems/switchboard/internal/audit"
	"github.com/netra-systems/switchboard/internal/server"
)

// auditCmd is what can be done with an audit log.
type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Check that no line of an audit log was changed, removed or added."`
}

type auditVerifyCmd struct {
	Data string `required:"" env:"SWITCHBOARD_DATA" placeholder:"DIR" help:"The directory that serve has as --data."`
}

// Help says what is checked.
func (*auditVerifyCmd) Help() string {
	return "Each line has the hash of the line before, in the series of each tenant. What is left after the oldest files were removed is checked, and it is said where that begins. " +
		"Who can write the files can also make a new log that is right in itself: keep the hash of the newest line elsewhere, and look for it here."
}

// Run prints what there is, or fails at the first line that is wrong.
func (c *auditVerifyCmd) Run(term terminal) error {
	dir := server.AuditDir(c.Data)
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	all, err := audit.Verify(dir)
	if err != nil {
		return err
	}
	for _, r := range all {
		name := r.Series
		if r.Tenant != "" {
			name = fmt.Sprintf("%s of %q", r.Series, r.Tenant)
		}
		if r.Lines == 0 {
			fmt.Fprintf(term.out, "%s: no lines\n", name)
			continue
		}
		fmt.Fprintf(term.out, "%s: %d lines in %d files, from %d to %d\n  before the first  %s\n  of the newest     %s\n",
			name, r.Lines, r.Files, r.First, r.Last, r.Prev, r.Hash)
	}
	return nil
}
