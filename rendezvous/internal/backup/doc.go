// Package backup writes all that a rendezvous must not lose into one stream,
// and reads it back into a database of either engine.
//
// # The stream
//
// It is gzip of lines of JSON, engine-neutral and in the order in which a
// database can be filled:
//
//	{"easyfind_backup":1,"schema":5,"engine":"sqlite","software":"0.1.0","made":"2026-11-26T12:00:00Z"}
//	{"file":"tls-key.pem","modified":"2026-...","content":"base64"}         each file of the data directory
//	{"table":"peers","columns":["id","name","created"],"kinds":["bytes","text","int"]}
//	["base64","workshop",1795651200000]                                     each row; what is absent is null
//	{"counter":"epochs","value":17}                                         each sequence, so that no number is given twice
//	{"end":true,"lines":9,"sha256":"hex"}                                   of all lines before
//
// schema is the version of the migrations under which the rows were written. An
// older one is read into a database of that version, which the migrations then
// bring up to date; a newer one is refused.
//
// What belongs to processes that run is not in it: leases, presence, locks.
package backup

import "errors"

// Errors of a stream.
var (
	ErrDamaged = errors.New("the backup is damaged or was cut short: use another copy")
	ErrNone    = errors.New("this is no backup of a rendezvous")
	ErrNewer   = errors.New("the backup was made by a newer version of the software: restore it with that version")
)

// format is the version of the stream's own form.
const format = 1

// Bounds of a stream.
const (
	maxLine    = 1 << 20   // bytes: a value of 256 KiB in base64, and room
	maxFile    = 256 << 10 // bytes of a file
	maxFiles   = 16
	maxColumns = 64
)

// kind is what a column holds, for either engine.
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
	boolean bool // in Postgres; elsewhere it is 0 or 1
}

// sink takes what a source holds, in order: a stream or a database.
type sink interface {
	table(name string, columns []column) error
	row(values []any) error // nil, int64, string or []byte, one for each column
	counter(name string, value int64) error
}

// tables are those that a backup holds, in an order in which they can be
// filled.
var tables = []string{
	"secrets", "peers", "challenges", "invites", "allowed", "mailboxes", "tries",
	"admin_tokens", "admin_links", "revocations", "approvals", "join_requests", "audit", "blobs", "last_seen", "history", "relay_use",
}

// left are the tables that a backup does not hold, and why. Those of processes
// are emptied by a restore.
var left = map[string]string{
	"instances": processes, "presence": processes, "locks": processes, "paths": processes,
	"epochs":           "kept as a counter",
	"goose_db_version": "the schema's own",
	"sqlite_sequence":  "kept as counters",
}

const processes = "of processes that run"

// counters are the sequences, by the table and column of each in Postgres.
var counters = []struct{ name, column string }{{"epochs", ""}, {"revocations", "seq"}, {"audit", "seq"}}
