package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
)

// tx runs f in a write transaction. what describes it in errors.
func (db *DB) tx(ctx context.Context, what string, f func(*transaction) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return failed(what, err)
	}
	if err := f(&transaction{tx, map[string]*sql.Stmt{}}); err != nil {
		return errors.Join(failed(what, err), rollBack(tx))
	}
	return failed(what, tx.Commit())
}

// rollBack ends a transaction that failed. It is not an error if the end of the
// context has ended the transaction already.
func rollBack(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// failed wraps an error of the database in registry.ErrUnavailable. It returns
// the registry's own errors and a cancelled context unchanged.
func failed(what string, err error) error {
	if err == nil || registry.Expected(err) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%s: %w: %w", what, registry.ErrUnavailable, err)
}

// statement is a writing statement outside a transaction.
type statement struct {
	what    string // describes it in errors
	missing error  // returned if it touches no row
	sql     string
}

// exec runs a statement.
func (db *DB) exec(ctx context.Context, s statement, args ...any) error {
	res, err := db.write.ExecContext(ctx, s.sql, args...)
	return failed(s.what, touched(res, err, s.missing))
}

// touched returns missing if a statement touched no row.
func touched(res sql.Result, err, missing error) error {
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		err = missing
	}
	return err
}

// none returns missing if a query found no row.
func none(err, missing error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	return err
}

// query is a query of several rows, outside a transaction.
type query struct {
	what string // describes it in errors
	sql  string
	args []any
}

// scanner is a row, alone or of many.
type scanner interface{ Scan(into ...any) error }

// collect returns the rows of a query.
func collect[T any](ctx context.Context, db *DB, q query, scan func(scanner) (T, error)) ([]T, error) {
	rows, err := db.read.QueryContext(ctx, q.sql, q.args...)
	if err != nil {
		return nil, failed(q.what, err)
	}
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, failed(q.what, errors.Join(err, rows.Close()))
		}
		all = append(all, one)
	}
	return all, failed(q.what, errors.Join(rows.Err(), rows.Close()))
}

// each calls scan for every row of a query.
func each(ctx context.Context, db *DB, q query, scan func(scanner) error) error {
	_, err := collect(ctx, db, q, func(row scanner) (struct{}, error) { return struct{}{}, scan(row) })
	return err
}

// checkBatch refuses a batch beyond the bound.
func checkBatch(what string, n int) error {
	if n > registry.MaxBatch {
		return fmt.Errorf("%s: %d at once, at most %d", what, n, registry.MaxBatch)
	}
	return nil
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
