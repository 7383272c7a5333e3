package sqlitestore

import (
	"context"
	"database/sql"
	"sync"
)

// SQLite needs more time to parse a statement than to run it. So each statement
// is prepared once: for the duration of a transaction if it writes, and for each
// connection if it reads.

// transaction runs the statements of one transaction. Only one goroutine may use
// it.
type transaction struct {
	*sql.Tx
	prepared map[string]*sql.Stmt // closed by the end of the transaction
}

func (t *transaction) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := t.prepared[query]; s != nil {
		return s, nil
	}
	s, err := t.PrepareContext(ctx, query)
	if err == nil {
		t.prepared[query] = s
	}
	return s, err
}

// ExecContext behaves like the method of sql.Tx.
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := t.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

// QueryRowContext behaves like the method of sql.Tx.
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := t.statement(ctx, query)
	if err != nil {
		return t.Tx.QueryRowContext(ctx, query, args...) // fails in the same way; only it can return the error
	}
	return s.QueryRowContext(ctx, args...)
}

// reader reads outside of transactions. Its methods may be called concurrently.
// It keeps every statement: their texts are constants of this package, so their
// number is bounded.
type reader struct {
	*sql.DB

	// Guarded by mu.
	mu       sync.Mutex
	prepared map[string]*sql.Stmt // closed with the database
}

func newReader(db *sql.DB) *reader { return &reader{DB: db, prepared: map[string]*sql.Stmt{}} }

func (r *reader) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	known := r.prepared[query]
	r.mu.Unlock()
	if known != nil {
		return known, nil
	}
	s, err := r.PrepareContext(ctx, query) // without mu, since it waits for a free connection
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known = r.prepared[query]; known != nil {
		return known, s.Close()
	}
	r.prepared[query] = s
	return s, nil
}

// QueryContext behaves like the method of sql.DB.
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := r.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// QueryRowContext behaves like the method of sql.DB.
func (r *reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := r.statement(ctx, query)
	if err != nil {
		return r.DB.QueryRowContext(ctx, query, args...) // fails in the same way; only it can return the error
	}
	return s.QueryRowContext(ctx, args...)
}
