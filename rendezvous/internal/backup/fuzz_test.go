package backup

import (
	"bytes"
	"errors"
	"testing"
)

// nowhere is a sink that checks rows against their table and discards them.
type nowhere struct{ columns int }

func (n *nowhere) table(_ string, c []column) error {
	if n.columns = len(c); n.columns == 0 || n.columns > maxColumns {
		return errors.New("out of bounds")
	}
	return nil
}

func (n *nowhere) row(values []any) error {
	if len(values) != n.columns {
		panic("a row does not fit its table")
	}
	return nil
}

func (n *nowhere) counter(string, int64) error { return nil }

// FuzzRead checks that reading ends without a panic, whatever the lines are, and
// that only a stream with a valid end is accepted.
func FuzzRead(f *testing.F) {
	header := `{"easyfind_backup":1,"schema":1,"engine":"sqlite","software":"0","made":"2026-01-01T00:00:00Z"}` + "\n"
	body := header + `{"file":"a","modified":"2026-01-01T00:00:00Z","content":"AA=="}` + "\n" +
		`{"table":"a","columns":["a","b","c"],"kinds":["int","text","bytes"]}` + "\n" +
		`[1,"x","AA=="]` + "\n" + `[null,null,null]` + "\n" + `{"counter":"a","value":1}` + "\n"
	f.Add([]byte(body + End(body)))
	f.Add([]byte(body))
	f.Add([]byte(header + "[1]\n"))
	f.Fuzz(func(t *testing.T, lines []byte) {
		in, _, err := newLines(bytes.NewReader(lines))
		if err != nil {
			return
		}
		err = in.read(&nowhere{}, func(File) error { return nil })
		// JSON has several ways to write an end line, but each contains "end".
		if err == nil && !bytes.Contains(lines, []byte(`"end":true`)) {
			if !bytes.Contains(bytes.ToLower(lines), []byte("end")) {
				t.Errorf("accepted without an end: %q", lines)
			}
		}
	})
}
