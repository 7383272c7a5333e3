// Package pgstore keeps the data of a rendezvous in Postgres, which any number of
// instances share.
package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/proto/ident"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/batch"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/registry/peers"
)

// DB is a Postgres database, version 13 or newer. Its stores share one pool of
// connections. Their methods may be called concurrently.
type DB struct {
	pool    *pgxpool.Pool
	admits  *batch.Batch[peers.Admission, peers.AdmissionResult]
	byID    *batch.Batch[ident.PeerID, peers.Peer]
	byToken *batch.Batch[registry.TokenPrefix, peers.Peer]
}

// ErrURL is the error of a malformed database URL.
var ErrURL = errors.New("the database URL cannot be read: write it as postgres://host:5432/database " +
	"with user:password@ before the host, and %40 for an @ in the password")

const (
	maxConns       = 16 // of one instance, unless the URL sets pool_max_conns
	minConns       = 2  // one of them holds the lock of the migrations
	connectTimeout = 10 * time.Second
)

// Open connects to the database of a URL such as
// postgres://user:password@host:5432/database and upgrades its schema. The error
// says what to do if the URL is wrong, no server answers, the role lacks a
// privilege, or the schema is newer (migrations.ErrNewer). It never contains the
// password.
func Open(ctx context.Context, url string) (*DB, error) {
	return open(ctx, url, migrations.Up)
}

// OpenExisting opens the database while servers may be running, and does not
// change the schema. Errors: those of Open, and migrations.ErrOlder.
func OpenExisting(ctx context.Context, url string) (*DB, error) {
	return open(ctx, url, migrations.Check)
}

func open(
	ctx context.Context, url string, schema func(context.Context, *sql.DB, migrations.Engine) error,
) (*DB, error) {
	db, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	err = db.Ping(ctx)
	if err == nil {
		plain := db.SQL()
		err = errors.Join(schema(ctx, plain, migrations.Postgres), plain.Close())
	}
	if err != nil {
		db.pool.Close()
		return nil, explain(err)
	}
	return db, nil
}

// connect parses the URL. It does not wait for a connection.
func connect(ctx context.Context, url string) (*DB, error) {
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return nil, ErrURL
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, ErrURL // err contains the URL, which may contain a password
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = maxConns
	}
	cfg.MaxConns = max(cfg.MaxConns, minConns)
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	if cfg.ConnConfig.RuntimeParams["application_name"] == "" {
		cfg.ConnConfig.RuntimeParams["application_name"] = "easyfind-rendezvous"
	}
	followPrimary(cfg)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	db := &DB{pool: pool}
	db.admits = batch.New(batch.Config[peers.Admission, peers.AdmissionResult]{
		Do: db.Peers().admit, MaxCalls: maxAdmissions, MaxRuns: 1, Timeout: admitTimeout,
	})
	db.byID = lookups(db, "id",
		func(id *ident.PeerID) []byte { return id[:] },
		func(p *peers.Peer) ident.PeerID { return p.ID })
	db.byToken = lookups(db, "token_prefix",
		func(t *registry.TokenPrefix) []byte { return t[:] },
		func(p *peers.Peer) registry.TokenPrefix { return p.TokenPrefix })
	return db, nil
}

// explain adds to an error of opening the database what to do about it.
func explain(err error) error {
	var server *pgconn.PgError
	var network *net.OpError
	switch {
	case errors.Is(err, migrations.ErrNewer), errors.Is(err, migrations.ErrOlder):
		return fmt.Errorf("database: %w", err)
	case errors.Is(err, pgconn.ErrReadOnlyConnection):
		return fmt.Errorf("database: none of the servers takes writes: %s", remedies[readOnly])
	case errors.As(err, &server):
		if do, ok := remedies[server.Code]; ok {
			return fmt.Errorf("database: %w: %s", server, do)
		}
	case errors.As(err, &network):
		return fmt.Errorf("database: %w: check that Postgres runs there and takes connections from this machine",
			network)
	}
	return fmt.Errorf("database: %w", err)
}

// poolerHint is the remedy if a prepared statement is missing or belongs to another
// client.
const poolerHint = "a pooler in transaction mode, as pgbouncer, is in between: " +
	"add default_query_exec_mode=exec to the database URL"

// remedies holds the advice for each SQLSTATE (Postgres documentation, appendix A).
var remedies = map[string]string{
	"28P01": "check the user and the password in the database URL",
	"28000": "check the user in the database URL, and that pg_hba.conf lets it in from here",
	"3D000": "create the database, or correct its name in the database URL",
	"42501": "the role may not create tables: " +
		"GRANT CREATE, USAGE ON SCHEMA public to it, or make it the owner of the database",
	"3F000": "the role sees no schema to create tables in: set its search_path",
	readOnly: "this server is read-only, a standby perhaps: " +
		"use the primary's address, or name all servers, as host1:5432,host2:5432",
	"53300": "the server has no connection free: " +
		"raise its max_connections, or lower pool_max_conns in the database URL",
	"42P05": poolerHint,
	"26000": poolerHint,
	"57P03": "the server is starting or stopping: try again",
}

// SQL returns the database for programs that read or write it without the
// stores: a backup, a restore, a diagnosis. Close it before the DB.
func (db *DB) SQL() *sql.DB { return stdlib.OpenDBFromPool(db.pool) }

// Ping returns nil if the database accepts writes.
func (db *DB) Ping(ctx context.Context) error {
	var standby bool
	const query = `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool`
	if err := db.pool.QueryRow(ctx, query).Scan(&standby); err != nil {
		return db.failed("ping", err)
	}
	if standby {
		err := &pgconn.PgError{Severity: "ERROR", Code: readOnly, Message: "the database takes no writes"}
		return db.failed("ping", err)
	}
	return nil
}

// Pool returns figures of the connection pool.
func (db *DB) Pool() registry.Pool {
	p := db.pool.Stat()
	return registry.Pool{
		InUse: int(p.AcquiredConns()), Idle: int(p.IdleConns()), Max: int(p.MaxConns()),
		Waits: p.EmptyAcquireCount(), Waited: p.EmptyAcquireWaitTime(),
	}
}

// Close ends all connections.
func (db *DB) Close() error {
	db.admits.Close()
	db.byID.Close()
	db.byToken.Close()
	db.pool.Close()
	return nil
}

// tx runs f in a transaction. what describes it in errors.
func (db *DB) tx(ctx context.Context, what string, f func(pgx.Tx) error) error {
	return db.failed(what, pgx.BeginFunc(ctx, db.pool, f))
}

// failed wraps an error of the database in registry.ErrUnavailable. It returns
// the registry's own errors and a cancelled context unchanged.
func (db *DB) failed(what string, err error) error {
	if err == nil || registry.Expected(err) || errors.Is(err, context.Canceled) {
		return err
	}
	db.reconnect(err)
	return fmt.Errorf("%s: %w: %w", what, registry.ErrUnavailable, err)
}

// statement is a statement outside a transaction.
type statement struct {
	what    string // describes it in errors
	missing error  // returned if it touches no row
	sql     string
}

// exec runs a statement.
func (db *DB) exec(ctx context.Context, s statement, args ...any) error {
	tag, err := db.pool.Exec(ctx, s.sql, args...)
	return db.failed(s.what, touched(tag, err, s.missing))
}

// touched returns missing if a statement touched no row.
func touched(tag pgconn.CommandTag, err, missing error) error {
	if err == nil && tag.RowsAffected() == 0 {
		return missing
	}
	return err
}

// none returns missing if a query found no row.
func none(err, missing error) error {
	if errors.Is(err, pgx.ErrNoRows) {
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

// collect returns the rows of a query.
func collect[T any](ctx context.Context, db *DB, q query, scan pgx.RowToFunc[T]) ([]T, error) {
	rows, err := db.pool.Query(ctx, q.sql, q.args...)
	if err != nil {
		return nil, db.failed(q.what, err)
	}
	all, err := pgx.CollectRows(rows, scan)
	return all, db.failed(q.what, err)
}

// each calls scan for every row of a query.
func each(ctx context.Context, db *DB, q query, scan func(pgx.CollectableRow) error) error {
	_, err := collect(ctx, db, q, func(row pgx.CollectableRow) (struct{}, error) { return struct{}{}, scan(row) })
	return err
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
