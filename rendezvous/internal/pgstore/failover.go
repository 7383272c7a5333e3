package pgstore

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// readOnly is the SQLSTATE of a write on a server that accepts no writes.
const readOnly = "25006"

// leaving are the SQLSTATEs of a server that is stopping, has become a standby,
// or has lost its unlogged tables in a crash.
var leaving = []string{readOnly, "57P01", "57P02", "57P03"}

// followPrimary makes the pool leave a server that has become a standby. If the
// URL names several servers, a new connection goes to the one that accepts
// writes, also without target_session_attrs=read-write in the URL. Existing
// connections are closed when a write is refused, see reconnect.
func followPrimary(cfg *pgxpool.Config) {
	c := cfg.ConnConfig
	for _, other := range c.Fallbacks {
		if c.ValidateConnect == nil && (other.Host != c.Host || other.Port != c.Port) {
			c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
		}
	}
}

// reconnect closes every connection if an error shows that the server is no
// longer usable: each of the others would otherwise fail one more request in the
// same way.
func (db *DB) reconnect(err error) {
	var server *pgconn.PgError
	if errors.Is(err, context.DeadlineExceeded) {
		return // pgx has closed the connection that did not answer in time
	}
	if !errors.As(err, &server) || slices.Contains(leaving, server.Code) {
		db.pool.Reset()
	}
}
