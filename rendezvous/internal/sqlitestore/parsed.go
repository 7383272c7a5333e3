package sqlitestore

import (
	"context"
	"database/sql"
	"sync"
)

// To parse a statement costs SQLite more than to run it. So each is parsed once:
// those of a transaction for as long as it lasts, those that read for each
// connection.

// transaction runs the statements of one transaction, from one goroutine.
type transaction struct {
	*sql.Tx
	parsed map[string]*sql.Stmt // the end of the transaction closes them
}

func (t *transaction) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := t.parsed[query]; s != nil {
		return s, nil
	}
	s, err := t.PrepareContext(ctx, query)
	if err == nil {
		t.parsed[query] = s
	}
	return s, err
}

// ExecContext is that of sql.Tx.
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := t.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

// QueryRowContext is that of sql.Tx.
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := t.statement(ctx, query)
	if err != nil {
		return t.Tx.QueryRowContext(ctx, query, args...) // it fails in the same way, and says so
	}
	return s.QueryRowContext(ctx, args...)
}

// reader reads, outside of transactions. The texts of its queries are the
// program's own, so their number has a bound.
type reader struct {
	*sql.DB

	mu     sync.Mutex
	parsed map[string]*sql.Stmt // closing the database closes them
}

func newReader(db *sql.DB) *reader { return &reader{DB: db, parsed: map[string]*sql.Stmt{}} }

func (r *reader) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	known := r.parsed[query]
	r.mu.Unlock()
	if known != nil {
		return known, nil
	}
	// Without the lock: it waits for a connection that is free.
	s, err := r.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known = r.parsed[query]; known != nil {
		return known, s.Close()
	}
	r.parsed[query] = s
	return s, nil
}

// QueryContext is that of sql.DB.
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := r.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// QueryRowContext is that of sql.DB.
func (r *reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := r.statement(ctx, query)
	if err != nil {
		return r.DB.QueryRowContext(ctx, query, args...) // it fails in the same way, and says so
	}
	return s.QueryRowContext(ctx, args...)
}
