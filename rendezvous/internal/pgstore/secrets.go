package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Secret returns the secret with a name.
func (db *DB) Secret(ctx context.Context, name string, fresh []byte) (value []byte, err error) {
	err = db.tx(ctx, "keep a secret", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, fresh)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT value FROM secrets WHERE name = $1`, name).Scan(&value)
	})
	return value, err
}
