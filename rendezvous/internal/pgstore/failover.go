package pgstore

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// readOnly is the SQLSTATE of a write on a server that takes none.
const readOnly = "25006"

// leaving are those of a server that ends, or has become another: a standby, or
// one whose tables were emptied by a crash.
var leaving = []string{readOnly, "57P01", "57P02", "57P03"}

// followPrimary has the pool leave a server that has become a standby. Where the
// URL names several servers, a new connection goes to the one that takes writes,
// without asking for target_session_attrs=read-write. A connection that stands
// already is only found out by a write that is refused, see reconnect.
func followPrimary(cfg *pgxpool.Config) {
	c := cfg.ConnConfig
	for _, other := range c.Fallbacks {
		if c.ValidateConnect == nil && (other.Host != c.Host || other.Port != c.Port) {
			c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
		}
	}
}

// reconnect gives up every connection if an error says that the server is not
// the one any more that they led to: the others fail the same way, each once for
// somebody.
func (s *Store) reconnect(err error) {
	var server *pgconn.PgError
	if errors.Is(err, context.DeadlineExceeded) {
		return // the one that did not answer in time is closed by now
	}
	if !errors.As(err, &server) || slices.Contains(leaving, server.Code) {
		s.pool.Reset()
	}
}
