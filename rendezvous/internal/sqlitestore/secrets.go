package sqlitestore

import "context"

// Secret returns the secret with a name.
func (db *DB) Secret(ctx context.Context, name string, fresh []byte) (value []byte, err error) {
	err = db.tx(ctx, "keep a secret", func(tx *transaction) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`,
			name, fresh)
		if err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT value FROM secrets WHERE name = ?`, name).Scan(&value)
	})
	return value, err
}
