package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/easyfind-usb/easyfind/migrations"
)

// database is a database in a transaction. It is a source and a sink.
type database struct {
	ctx    context.Context
	tx     *sql.Tx
	engine migrations.Engine

	// Of the table that is filled.
	name    string
	columns []column
	waiting []any // values of rows that are not written yet
	rows    int   // number of these rows
}

// perInsert is the number of rows in one statement. Each engine bounds the number
// of values, SQLite to 32,766.
const perInsert = 200

// dump passes every table and counter to a sink.
func (d *database) dump(to sink) error {
	for _, name := range tables {
		columns, err := d.columnsOf(name)
		if err != nil {
			return err
		}
		if err := to.table(name, columns); err != nil {
			return err
		}
		if err := d.dumpRows(name, columns, to); err != nil {
			return fmt.Errorf("read table %s: %w", name, err)
		}
	}
	for _, c := range counters {
		value, err := d.count(c.name, c.column)
		if err != nil {
			return fmt.Errorf("read counter %s: %w", c.name, err)
		}
		if err := to.counter(c.name, value); err != nil {
			return err
		}
	}
	return nil
}

// dumpRows passes the rows of a table to a sink.
func (d *database) dumpRows(name string, columns []column, to sink) error {
	var list []string
	for _, c := range columns {
		expr := quoted(c.name)
		if c.boolean {
			expr += "::int"
		}
		list = append(list, expr)
	}
	rows, err := d.tx.QueryContext(d.ctx, `SELECT `+strings.Join(list, ", ")+` FROM `+quoted(name))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		values, err := scan(rows, columns)
		if err != nil {
			return err
		}
		if err := to.row(values); err != nil {
			return err
		}
	}
	return rows.Err()
}

// scan returns the values of the current row.
func scan(rows *sql.Rows, columns []column) ([]any, error) {
	into := make([]any, len(columns))
	for i, c := range columns {
		switch c.kind {
		case kindInt:
			into[i] = new(sql.NullInt64)
		case kindText:
			into[i] = new(sql.NullString)
		case kindBytes:
			into[i] = new([]byte)
		}
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	values := make([]any, len(columns))
	for i, v := range into {
		switch v := v.(type) {
		case *sql.NullInt64:
			if v.Valid {
				values[i] = v.Int64
			}
		case *sql.NullString:
			if v.Valid {
				values[i] = v.String
			}
		case *[]byte:
			if *v != nil {
				values[i] = *v
			}
		}
	}
	return values, nil
}

// mark returns the placeholder of the nth value of a statement.
func (d *database) mark(n int) string {
	if d.engine == migrations.Postgres {
		return fmt.Sprintf("$%d", n)
	}
	return "?"
}

// quoted quotes the name of a table or column.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// columnsOf returns the columns of a table.
func (d *database) columnsOf(table string) ([]column, error) {
	query := `SELECT name, type FROM pragma_table_info(?) ORDER BY cid`
	if d.engine == migrations.Postgres {
		query = `SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
			WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum`
	}
	rows, err := d.tx.QueryContext(d.ctx, query, table)
	if err != nil {
		return nil, fmt.Errorf("columns of table %s: %w", table, err)
	}
	defer rows.Close()
	var columns []column
	for rows.Next() {
		var name, as string
		if err := rows.Scan(&name, &as); err != nil {
			return nil, fmt.Errorf("columns of table %s: %w", table, err)
		}
		c := column{name: name, boolean: as == "boolean"}
		switch as {
		case "INTEGER", "bigint", "integer", "boolean":
			c.kind = kindInt
		case "TEXT", "text":
			c.kind = kindText
		case "BLOB", "bytea":
			c.kind = kindBytes
		default:
			return nil, fmt.Errorf("column %s of table %s: unknown type %q", name, table, as)
		}
		columns = append(columns, c)
	}
	if len(columns) == 0 && rows.Err() == nil {
		return nil, fmt.Errorf("there is no table %s", table)
	}
	return columns, rows.Err()
}

// count returns the last number that a counter has issued, or 0.
func (d *database) count(name, column string) (value int64, err error) {
	if d.engine != migrations.Postgres {
		err = d.tx.QueryRowContext(d.ctx, `SELECT seq FROM sqlite_sequence WHERE name = ?`, name).Scan(&value)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, nil
		}
		return value, err
	}
	sequence, err := d.sequence(name, column)
	if err != nil {
		return 0, err
	}
	query := `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM ` + sequence
	err = d.tx.QueryRowContext(d.ctx, query).Scan(&value)
	return value, err
}

// sequence returns the name of a counter's sequence in Postgres.
func (d *database) sequence(name, column string) (sequence string, err error) {
	if column == "" {
		return quoted(name), nil
	}
	err = d.tx.QueryRowContext(d.ctx, `SELECT pg_get_serial_sequence($1, $2)`, name, column).Scan(&sequence)
	return sequence, err
}

// table starts to fill a table.
func (d *database) table(name string, columns []column) error {
	if err := d.flush(); err != nil {
		return err
	}
	if !slices.Contains(tables, name) {
		return fmt.Errorf("%w: it contains a table %q", ErrDamaged, name)
	}
	has, err := d.columnsOf(name)
	if err != nil {
		return err
	}
	var filled []column
	for _, c := range columns {
		i := slices.IndexFunc(has, func(h column) bool { return h.name == c.name && h.kind == c.kind })
		if i < 0 {
			return fmt.Errorf("%w: table %s has a column %q", ErrDamaged, name, c.name)
		}
		filled = append(filled, has[i])
	}
	d.name, d.columns = name, filled
	return nil
}

// row adds a row to the current table.
func (d *database) row(values []any) error {
	if len(values) != len(d.columns) {
		return ErrDamaged
	}
	d.waiting = append(d.waiting, values...)
	if d.rows++; d.rows < perInsert {
		return nil
	}
	return d.flush()
}

// flush writes the waiting rows.
func (d *database) flush() error {
	if d.rows == 0 {
		return nil
	}
	var names, tuples []string
	for _, c := range d.columns {
		names = append(names, quoted(c.name))
	}
	for n := range d.rows {
		var marks []string
		for i, c := range d.columns {
			mark := d.mark(n*len(d.columns) + i + 1)
			if c.boolean {
				mark = "(" + mark + "::int)::boolean"
			}
			marks = append(marks, mark)
		}
		tuples = append(tuples, "("+strings.Join(marks, ", ")+")")
	}
	statement := `INSERT INTO ` + quoted(d.name) + ` (` + strings.Join(names, ", ") + `) `
	if d.engine == migrations.Postgres {
		statement += `OVERRIDING SYSTEM VALUE `
	}
	_, err := d.tx.ExecContext(d.ctx, statement+`VALUES `+strings.Join(tuples, ", "), d.waiting...)
	d.waiting, d.rows = d.waiting[:0], 0
	if err != nil {
		return fmt.Errorf("fill table %s: %w", d.name, err)
	}
	return nil
}

// counter sets a counter. In Postgres, sequences are not part of the transaction;
// a sequence is only ever set to a higher value.
func (d *database) counter(name string, value int64) error {
	if err := d.flush(); err != nil {
		return err
	}
	i := slices.IndexFunc(counters, func(c struct{ name, column string }) bool { return c.name == name })
	if i < 0 || value < 0 {
		return fmt.Errorf("%w: it contains a counter %q", ErrDamaged, name)
	}
	if d.engine != migrations.Postgres {
		if _, err := d.tx.ExecContext(d.ctx, `DELETE FROM sqlite_sequence WHERE name = ?`, name); err != nil {
			return fmt.Errorf("set counter %s: %w", name, err)
		}
		_, err := d.tx.ExecContext(d.ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)`, name, value)
		return wrap("set counter "+name, err)
	}
	sequence, err := d.sequence(name, counters[i].column)
	if err != nil {
		return fmt.Errorf("set counter %s: %w", name, err)
	}
	now, err := d.count(name, counters[i].column)
	if err != nil || now >= value {
		return wrap("read counter "+name, err)
	}
	_, err = d.tx.ExecContext(d.ctx, `SELECT setval($1::text::regclass, $2::bigint)`, sequence, value)
	return wrap("set counter "+name, err)
}

// wrap adds a description to an error, if any.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
