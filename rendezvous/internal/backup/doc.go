// Package backup writes everything that a rendezvous must not lose to a stream,
// and reads it back into a database of either engine.
//
// # The stream
//
// The stream is gzip of lines of JSON. It does not depend on the engine, and a
// database can be filled in its order:
//
//	{"easyfind_backup":1,"schema":5,"engine":"sqlite","software":"0.1.0","made":"2026-11-26T12:00:00Z"}
//	{"file":"tls-key.pem","modified":"2026-...","content":"base64"}         each file of the data directory
//	{"table":"peers","columns":["id","name","created"],"kinds":["bytes","text","int"]}
//	["base64","workshop",1795651200000]                                     each row; NULL is null
//	{"counter":"epochs","value":17}                                         each sequence: no number is used twice
//	{"end":true,"lines":9,"sha256":"hex"}                                   of all lines before
//
// schema is the version of the migrations under which the rows were written. A
// backup with an older schema is read into a database of that version, which the
// migrations then upgrade. A newer schema is refused.
//
// The state of running processes is not part of a backup: leases, presence, locks.
package backup

import "errors"

// Errors of a stream.
var (
	ErrDamaged = errors.New("the backup is damaged or was cut short: use another copy")
	ErrNone    = errors.New("this is not a backup of a rendezvous")
	ErrNewer   = errors.New("the backup was made by a newer version of the software: restore it with that version")
)

// format is the version of the stream format.
const format = 1

// Bounds of a stream.
const (
	maxLine    = 1 << 20   // bytes: a value of 256 KiB in base64 and what surrounds it
	maxFile    = 256 << 10 // bytes of a file
	maxFiles   = 16
	maxColumns = 64
)

// kind is the type of a column's values, for either engine.
type kind string

const (
	kindInt   kind = "int"
	kindText  kind = "text"
	kindBytes kind = "bytes"
)

// column is a column of a table.
type column struct {
	name    string
	kind    kind
	boolean bool // in Postgres; SQLite has 0 or 1
}

// sink receives tables and counters in the order of the stream. It is a stream or
// a database.
type sink interface {
	table(name string, columns []column) error
	row(values []any) error // one nil, int64, string or []byte for each column
	counter(name string, value int64) error
}

// tables are the tables in a backup, in an order in which they can be filled.
var tables = []string{
	"secrets", "peers", "challenges", "invites", "allowed", "mailboxes", "tries",
	"admin_tokens", "admin_links", "revocations", "approvals", "join_requests", "audit", "blobs", "last_seen",
	"history", "relay_use",
}

// left are the tables that are not in a backup, with the reason. A restore empties
// those of processes.
var left = map[string]string{
	"instances": processes, "presence": processes, "locks": processes, "paths": processes,
	"epochs":           "kept as a counter",
	"goose_db_version": "the schema's own",
	"sqlite_sequence":  "kept as counters",
}

const processes = "of processes that run"

// counters are the sequences, by the table and column of each in Postgres.
var counters = []struct{ name, column string }{{"epochs", ""}, {"revocations", "seq"}, {"audit", "seq"}}
