//go:build unix

package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// RoleWithPassword creates a role that must authenticate with its password, and
// returns the URL of a database for it. Other roles need no password.
func (c *Cluster) RoleWithPassword(ctx context.Context, role, password, database string) (string, error) {
	if err := c.Exec(ctx, "postgres", fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", role, password)); err != nil {
		return "", err
	}
	hba := filepath.Join(c.data(), "pg_hba.conf")
	before, err := os.ReadFile(hba)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(hba, fmt.Appendf(nil, "local all %s scram-sha-256\n%s", role, before), 0o600); err != nil {
		return "", err
	}
	return c.URLFor(role, database), c.Exec(ctx, "postgres", "SELECT pg_reload_conf()")
}
