// Package pgstore keeps the registry in Postgres, where any number of instances
// share it.
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
)

var _ registry.Store = (*Store)(nil)

// Store is a registry in a Postgres database, version 13 or newer.
type Store struct {
	pool    *pgxpool.Pool
	admits  *batch.Batch[registry.Admission, registry.Admitted]
	byID    *batch.Batch[ident.PeerID, registry.Peer]
	byToken *batch.Batch[registry.TokenPrefix, registry.Peer]
}

// ErrURL is the error of a database URL that cannot be read.
var ErrURL = errors.New("the database URL cannot be read: write it as postgres://host:5432/database with user:password@ before the host, and %40 for an @ in the password")

const (
	conns          = 16 // of one instance, unless the URL says pool_max_conns
	minConns       = 2  // one holds the lock of the migrations
	connectTimeout = 10 * time.Second
)

// Open connects to the database of a URL such as
// postgres://user:password@host:5432/database and brings its schema up to date.
// The error says what to do where the URL is wrong, nothing answers, the role
// may not do what it must, or the schema is newer (migrations.ErrNewer). It
// never holds the password.
func Open(ctx context.Context, url string) (*Store, error) {
	return prepared(ctx, url, migrations.Up)
}

// OpenBeside opens it beside servers that may be running, and changes no
// schema. Errors: as Open, and migrations.ErrOlder.
func OpenBeside(ctx context.Context, url string) (*Store, error) {
	return prepared(ctx, url, migrations.Check)
}

func prepared(ctx context.Context, url string, schema func(context.Context, *sql.DB, migrations.Engine) error) (*Store, error) {
	s, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	err = s.Ping(ctx)
	if err == nil {
		db := stdlib.OpenDBFromPool(s.pool)
		err = errors.Join(schema(ctx, db, migrations.Postgres), db.Close())
	}
	if err != nil {
		s.pool.Close()
		return nil, explained(err)
	}
	return s, nil
}

// connect reads the URL. Whether anything answers shows the first use.
func connect(ctx context.Context, url string) (*Store, error) {
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return nil, ErrURL
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, ErrURL // err repeats the URL, and may repeat its password
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = conns
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
	s := &Store{pool: pool}
	s.admits = batch.New(batch.Config[registry.Admission, registry.Admitted]{Do: s.admit, Most: mostAdmitted, Runs: 1, Wait: admitWait})
	s.byID = lookups(s, "id", func(id *ident.PeerID) []byte { return id[:] }, func(p *registry.Peer) ident.PeerID { return p.ID })
	s.byToken = lookups(s, "token_prefix", func(t *registry.TokenPrefix) []byte { return t[:] }, func(p *registry.Peer) registry.TokenPrefix { return p.TokenPrefix })
	return s, nil
}

// explained adds to an error of opening the database what to do about it.
func explained(err error) error {
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
		return fmt.Errorf("database: %w: check that Postgres runs there and takes connections from this machine", network)
	}
	return fmt.Errorf("database: %w", err)
}

// pooler is what to do where statements that were prepared are not there, or are
// another's.
const pooler = "a pooler in transaction mode, as pgbouncer, is in between: add default_query_exec_mode=exec to the database URL"

// remedies says what to do about an SQLSTATE (Postgres documentation,
// appendix A).
var remedies = map[string]string{
	"28P01":  "check the user and the password in the database URL",
	"28000":  "check the user in the database URL, and that pg_hba.conf lets it in from here",
	"3D000":  "create the database, or correct its name in the database URL",
	"42501":  "the role may not create tables: GRANT CREATE, USAGE ON SCHEMA public to it, or make it the owner of the database",
	"3F000":  "the role sees no schema to create tables in: set its search_path",
	readOnly: "this server is read-only, a standby perhaps: use the primary's address, or name all servers, as host1:5432,host2:5432",
	"53300":  "the server has no connection free: raise its max_connections, or lower pool_max_conns in the database URL",
	"42P05":  pooler,
	"26000":  pooler,
	"57P03":  "the server is starting or stopping: try again",
}

// DB is the database as a program beside the servers reads it, or in place of
// them writes it. Close it before the store.
func (s *Store) DB() *sql.DB { return stdlib.OpenDBFromPool(s.pool) }

// Ping reports whether the database takes writes.
func (s *Store) Ping(ctx context.Context) error {
	var standby bool
	if err := s.pool.QueryRow(ctx, `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool`).Scan(&standby); err != nil {
		return s.failed("ping", err)
	}
	if standby {
		return s.failed("ping", &pgconn.PgError{Severity: "ERROR", Code: readOnly, Message: "the database takes no writes"})
	}
	return nil
}

// Pool tells of the connections.
func (s *Store) Pool() registry.Pool {
	p := s.pool.Stat()
	return registry.Pool{
		InUse: int(p.AcquiredConns()), Idle: int(p.IdleConns()), Max: int(p.MaxConns()),
		Waits: p.EmptyAcquireCount(), Waited: p.EmptyAcquireWaitTime(),
	}
}

// Close ends all connections.
func (s *Store) Close() error {
	s.admits.Close()
	s.byID.Close()
	s.byToken.Close()
	s.pool.Close()
	return nil
}

// tx runs f in a transaction.
func (s *Store) tx(ctx context.Context, what string, f func(pgx.Tx) error) error {
	return s.failed(what, pgx.BeginFunc(ctx, s.pool, f))
}

// failed turns an error of the database into one that wraps
// registry.ErrUnavailable, and leaves the registry's own as they are.
func (s *Store) failed(what string, err error) error {
	if err == nil || registry.Expected(err) || errors.Is(err, context.Canceled) {
		return err
	}
	s.reconnect(err)
	return fmt.Errorf("%s: %w: %w", what, registry.ErrUnavailable, err)
}

// one runs a statement and gives missing if it touched no row.
func (s *Store) one(ctx context.Context, what string, missing error, statement string, args ...any) error {
	tag, err := s.pool.Exec(ctx, statement, args...)
	return s.failed(what, touched(tag, err, missing))
}

func touched(tag pgconn.CommandTag, err, missing error) error {
	if err == nil && tag.RowsAffected() == 0 {
		return missing
	}
	return err
}

// none gives missing for a query that found no row.
func none(err, missing error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return missing
	}
	return err
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
