//go:build unix

package backup_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/easyfind-usb/easyfind/migrations"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/backup"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/pgstore/pgtest"
	"github.com/easyfind-usb/easyfind/rendezvous/internal/sqlitestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// sqlite returns an empty SQLite database with a version of the schema.
func sqlite(t *testing.T, schema int64) backup.Database {
	t.Helper()
	db, err := sqlitestore.Create(t.Context(), filepath.Join(t.TempDir(), sqlitestore.FileName), schema)
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, backup.Database{DB: db, Engine: migrations.SQLite})
}

// postgres returns an empty Postgres database.
func postgres(t *testing.T) backup.Database {
	t.Helper()
	store, err := pgstore.Open(t.Context(), pgtest.Shared(t).Fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return closing(t, backup.Database{DB: store.SQL(), Engine: migrations.Postgres})
}

// closing closes a database at the end of the test.
func closing(t *testing.T, b backup.Database) backup.Database {
	t.Helper()
	t.Cleanup(func() {
		if err := b.DB.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func latest(t *testing.T) int64 {
	t.Helper()
	n, err := migrations.Latest(migrations.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func write(t *testing.T, from backup.Database, files ...backup.File) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := backup.Write(t.Context(), &out, from, files, "1.2.3", now); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// read reads a backup into a fresh SQLite database.
func read(t *testing.T, raw []byte) (backup.Database, []backup.File, error) {
	t.Helper()
	fresh := func(ctx context.Context, schema int64) (*sql.DB, error) {
		return sqlitestore.Create(ctx, filepath.Join(t.TempDir(), sqlitestore.FileName), schema)
	}
	db, files, _, err := backup.Read(t.Context(), bytes.NewReader(raw), fresh)
	if err != nil {
		return backup.Database{}, nil, err
	}
	return closing(t, backup.Database{DB: db, Engine: migrations.SQLite}), files, nil
}

// content returns the lines of a backup without the first and the last. The rows of
// each table are sorted.
func content(t *testing.T, raw []byte) []string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(plain(t, raw))), "\n")
	lines = lines[1 : len(lines)-1]
	for i := 0; i < len(lines); i++ {
		end := i
		for end < len(lines) && lines[end][0] == '[' {
			end++
		}
		slices.Sort(lines[i:end])
		i = max(i, end-1)
	}
	return lines
}

func plain(t *testing.T, raw []byte) []byte {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func zipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	zip.Write(text)
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// fill writes rows into every table that is in a backup. Each column gets values of
// its own, and also NULL if it may be.
func fill(t *testing.T, db *sql.DB) (tables int) {
	t.Helper()
	mustExec(t, db, `PRAGMA foreign_keys = OFF`)
	mustExec(t, db, `BEGIN`)
	const tablesInBackup = `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
		AND name NOT IN ('goose_db_version', 'instances', 'presence', 'paths', 'locks', 'epochs')`
	for _, table := range names(t, db, tablesInBackup) {
		const columnsOf = `SELECT name, type, "notnull" FROM pragma_table_info(?) ORDER BY cid`
		rows, err := db.QueryContext(t.Context(), columnsOf, table)
		if err != nil {
			t.Fatal(err)
		}
		var columns, types []string
		var required []bool
		for rows.Next() {
			var name, as string
			var not bool
			if err := rows.Scan(&name, &as, &not); err != nil {
				t.Fatal(err)
			}
			columns, types, required = append(columns, name), append(types, as), append(required, not)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		for n := range 210 {
			var values []any
			for i, as := range types {
				values = append(values, value(columns[i], as, n, !required[i] && i > 0 && n%3 == 0))
			}
			marks := strings.TrimSuffix(strings.Repeat("?, ", len(columns)), ", ")
			insert := fmt.Sprintf(`INSERT INTO %s ("%s") VALUES (%s)`, table, strings.Join(columns, `", "`), marks)
			mustExec(t, db, insert, values...)
		}
		tables++
	}
	mustExec(t, db, `INSERT INTO epochs VALUES (4711)`)
	mustExec(t, db, `DELETE FROM epochs`)
	mustExec(t, db, `COMMIT`)
	return tables
}

// value returns the nth value of a column.
func value(column, as string, n int, null bool) any {
	switch {
	case null:
		return nil
	case as == "BLOB":
		return append([]byte{byte(n >> 8), byte(n), 0, 0xff, '\n', '"'}, column...)
	case as == "TEXT":
		return fmt.Sprintf("%s %d ü \"quoted\" 日本 \t <&>", column, n)
	case column == "revoked" || column == "closed" || column == "named" || column == "session":
		return n % 2
	case column == "created" || column == "expires" || column == "at":
		return int64(n)<<41 + int64(n) // needs more bits than a float64 has
	}
	return n + 1
}

func mustExec(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func names(t *testing.T, db *sql.DB, query string) (names []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
	return names
}

// TestBackupMovesBetweenEngines takes a database from SQLite to Postgres and back.
func TestBackupMovesBetweenEngines(t *testing.T) {
	first := sqlite(t, latest(t))
	filled := fill(t, first.DB)
	// A try needs a mailbox.
	mustExec(t, first.DB, `UPDATE tries SET address = (SELECT min(address) FROM mailboxes)`)
	files := []backup.File{{Name: "tls-key.pem", Modified: now.Add(-time.Hour), Content: []byte("a key\n\x00\xff")}}
	raw := write(t, first, files...)
	want := content(t, raw)
	if len(want) < filled*200 {
		t.Fatalf("the backup has %d lines of %d tables", len(want), filled)
	}

	second := postgres(t)
	scratch, got, err := read(t, raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, got); diff != "" {
		t.Errorf("files: %s", diff)
	}
	called := 0
	err = backup.Replace(t.Context(), scratch, second, false, now, func() error { called++; return nil })
	if err != nil || called != 1 {
		t.Fatalf("into Postgres: %v, called %d times", err, called)
	}
	if diff := cmp.Diff(want, content(t, write(t, second, files...))); diff != "" {
		t.Errorf("in Postgres: %s", diff)
	}
	third, _, err := read(t, write(t, second, files...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, content(t, write(t, third, files...))); diff != "" {
		t.Errorf("back in SQLite: %s", diff)
	}
	// No number is used twice.
	for name, b := range map[string]backup.Database{"Postgres": second, "SQLite": third} {
		var seq int64
		peer := `'\x00'`
		if b.Engine == migrations.SQLite {
			peer = `x'00'`
		}
		insert := `INSERT INTO revocations (peer, name, at) VALUES (` + peer + `, '', 0) RETURNING seq`
		err := b.DB.QueryRowContext(t.Context(), insert).Scan(&seq)
		if err != nil || seq <= 210 {
			t.Errorf("%s: the next revocation has number %d, %v", name, seq, err)
		}
	}
}

// TestEveryTableIsListed: a table that a migration adds must be listed, either in
// tables or in left.
func TestEveryTableIsListed(t *testing.T) {
	lite := names(t, sqlite(t, latest(t)).DB, `SELECT name FROM sqlite_master WHERE type = 'table'`)
	post := names(t, postgres(t).DB, `SELECT tablename FROM pg_tables WHERE schemaname = current_schema()`)
	for _, name := range append(lite, post...) {
		if backup.Holds(name) == backup.Leaves(name) {
			t.Errorf("table %s: in a backup: %v, left out: %v", name, backup.Holds(name), backup.Leaves(name))
		}
	}
}

func TestOlderBackupIsUpgraded(t *testing.T) {
	old := sqlite(t, 1)
	mustExec(t, old.DB, `INSERT INTO peers VALUES (x'01', x'02', 'name', 1, x'03', x'04')`)
	// The previous version writes this.
	text := `{"easyfind_backup":1,"schema":1,"engine":"sqlite","software":"0","made":"2026-01-01T00:00:00Z"}` + "\n" +
		`{"table":"peers","columns":["id","public_key","name","created","token_prefix","token_hash"],` +
		`"kinds":["bytes","bytes","text","int","bytes","bytes"]}` + "\n" +
		`["AQ==","Ag==","name",1,"Aw==","BA=="]` + "\n"
	b, _, err := read(t, zipped(t, []byte(text+backup.End(text))))
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var version int64
	err = b.DB.QueryRowContext(t.Context(), `SELECT name, version FROM peers`).Scan(&name, &version)
	if err != nil || name != "name" || version != 1 {
		t.Errorf("%q, %d, %v", name, version, err)
	}
	if err := migrations.Check(t.Context(), b.DB, migrations.SQLite); err != nil {
		t.Error(err)
	}
}

func TestInvalidBackupIsRefused(t *testing.T) {
	good := write(t, sqlite(t, latest(t)))
	text := string(plain(t, good))
	body := text[:strings.LastIndex(text[:len(text)-1], "\n")+1]
	header, rest, _ := strings.Cut(body, "\n")
	again := func(body string) []byte { return zipped(t, []byte(body+backup.End(body))) }
	const secrets = `{"table":"secrets","columns":["name","value"],"kinds":["text","bytes"]}` + "\n"
	schema := fmt.Sprintf(`schema":%d`, latest(t))
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"nothing":           {nil, backup.ErrNone},
		"another file":      {[]byte("SQLite format 3\x00"), backup.ErrNone},
		"another gzip":      {zipped(t, []byte("hello\n")), backup.ErrNone},
		"cut short":         {good[:len(good)/2], backup.ErrDamaged},
		"no end":            {zipped(t, []byte(body)), backup.ErrDamaged},
		"a line is missing": {zipped(t, []byte(header+"\n"+text[len(body):])), backup.ErrDamaged},
		"a byte differs":    {zipped(t, []byte(strings.Replace(text, `"value":0`, `"value":1`, 1))), backup.ErrDamaged},
		"more after end":    {zipped(t, []byte(text+"{}\n")), backup.ErrDamaged},
		"unknown table": {
			again(body + `{"table":"goose_db_version","columns":["id"],"kinds":["int"]}` + "\n"), backup.ErrDamaged,
		},
		"unknown column": {
			again(body + `{"table":"peers","columns":["id; DROP TABLE peers"],"kinds":["int"]}` + "\n"),
			backup.ErrDamaged,
		},
		"another kind": {
			again(body + `{"table":"peers","columns":["id"],"kinds":["int"]}` + "\n"), backup.ErrDamaged,
		},
		"a short row":     {again(body + secrets + `["a"]` + "\n"), backup.ErrDamaged},
		"not base64":      {again(body + secrets + `["a","!"]` + "\n"), backup.ErrDamaged},
		"a huge line":     {again(body + `{"counter":"` + strings.Repeat("x", 2<<20) + "\"}\n"), backup.ErrDamaged},
		"unknown counter": {again(body + `{"counter":"x","value":1}` + "\n"), backup.ErrDamaged},
		"a newer format":  {again(strings.Replace(header, `backup":1`, `backup":2`, 1) + "\n" + rest), backup.ErrNewer},
		"a newer schema":  {again(strings.Replace(header, schema, `schema":9000`, 1) + "\n" + rest), backup.ErrNewer},
		"no schema":       {again(strings.Replace(header, schema, `schema":0`, 1) + "\n" + rest), backup.ErrDamaged},
	} {
		if _, _, err := read(t, c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, _, err := read(t, again(body)); err != nil {
		t.Errorf("a valid backup: %v", err)
	}
}

func TestRestoreKeepsDatabaseInUse(t *testing.T) {
	from := sqlite(t, latest(t))
	mustExec(t, from.DB, `INSERT INTO secrets VALUES ('a', x'01')`)
	to := postgres(t)
	mustExec(t, to.DB, `INSERT INTO peers (id, public_key, name, created, token_prefix, token_hash)
		VALUES ('\x01', '\x02', 'x', 1, '\x03', '\x04')`)
	before := content(t, write(t, to))
	replace := func(force bool, before error) error {
		return backup.Replace(t.Context(), from, to, force, now, func() error { return before })
	}
	if err := replace(false, nil); !errors.Is(err, backup.ErrNotEmpty) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a database that is not empty: %v", err)
	}
	mustExec(t, to.DB, `INSERT INTO instances (name, epoch, address, lease_until) VALUES ('a', 1, '', 1e15)`)
	if err := replace(true, nil); !errors.Is(err, backup.ErrInUse) {
		t.Errorf("a database that an instance uses: %v", err)
	}
	mustExec(t, to.DB, `UPDATE instances SET lease_until = 1`)
	failing := errors.New("the files cannot be written")
	if err := replace(true, failing); !errors.Is(err, failing) {
		t.Errorf("a step that fails: %v", err)
	}
	if diff := cmp.Diff(before, content(t, write(t, to))); diff != "" {
		t.Errorf("the database has changed in spite of an error: %s", diff)
	}
	if err := replace(true, nil); err != nil {
		t.Fatal(err)
	}
	const all = `SELECT name FROM secrets UNION ALL SELECT name FROM peers UNION ALL SELECT name FROM instances`
	if n := names(t, to.DB, all); !slices.Equal(n, []string{"a"}) {
		t.Errorf("the database contains %q", n)
	}
}
