package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// Header is the first line of a backup.
type Header struct {
	Format   int       `json:"easyfind_backup"`
	Schema   int64     `json:"schema"`
	Engine   string    `json:"engine"`
	Software string    `json:"software"`
	Made     time.Time `json:"made"`
}

// File is a file of the data directory.
type File struct {
	Name     string    `json:"file"`
	Modified time.Time `json:"modified"`
	Content  []byte    `json:"content"`
}

type tableLine struct {
	Table   string   `json:"table"`
	Columns []string `json:"columns"`
	Kinds   []kind   `json:"kinds"`
}

type counterLine struct {
	Counter string `json:"counter"`
	Value   int64  `json:"value"`
}

type endLine struct {
	End    bool   `json:"end"`
	Lines  int    `json:"lines"`
	SHA256 string `json:"sha256"`
}

// writer writes a stream. It is a sink.
type writer struct {
	zip   *gzip.Writer
	sum   hash.Hash
	lines int
}

func newWriter(w io.Writer) *writer {
	return &writer{zip: gzip.NewWriter(w), sum: sha256.New()}
}

// line writes a line and adds it to the checksum.
func (w *writer) line(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if len(raw) >= maxLine {
		return fmt.Errorf("backup: a line has %d bytes, at most %d are allowed", len(raw), maxLine)
	}
	raw = append(raw, '\n')
	w.sum.Write(raw)
	w.lines++
	if _, err := w.zip.Write(raw); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}

func (w *writer) table(name string, columns []column) error {
	l := tableLine{Table: name}
	for _, c := range columns {
		l.Columns = append(l.Columns, c.name)
		l.Kinds = append(l.Kinds, c.kind)
	}
	return w.line(l)
}

// row writes a row. JSON encodes []byte in base64.
func (w *writer) row(values []any) error { return w.line(values) }

func (w *writer) counter(name string, value int64) error { return w.line(counterLine{name, value}) }

// end writes the last line, without which the stream is not valid.
func (w *writer) end() error {
	if err := w.line(endLine{true, w.lines, hex.EncodeToString(w.sum.Sum(nil))}); err != nil {
		return err
	}
	if err := w.zip.Close(); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}

// reader reads a stream line by line.
type reader struct {
	in    *bufio.Reader
	sum   hash.Hash
	lines int
}

func newReader(r io.Reader) (*reader, Header, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, Header{}, ErrNone
	}
	return newLines(zip)
}

// newLines returns a reader of a stream that is not compressed.
func newLines(r io.Reader) (*reader, Header, error) {
	var h Header
	in := &reader{in: bufio.NewReaderSize(r, maxLine), sum: sha256.New()}
	raw, err := in.next()
	if err != nil {
		return nil, h, err
	}
	if json.Unmarshal(raw, &h) != nil || h.Format == 0 {
		return nil, h, ErrNone
	}
	in.sum.Write(raw)
	if h.Format > format {
		return nil, h, ErrNewer
	}
	return in, h, nil
}

// next returns the next line. It is valid until the following call.
func (r *reader) next() ([]byte, error) {
	raw, err := r.in.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, bufio.ErrBufferFull),
		errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader):
		return nil, ErrDamaged
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r.lines++
	return raw, nil
}

// read passes everything after the header to the sink, and each file to keep. If it
// returns an error, the sink must discard what it got.
func (r *reader) read(to sink, keep func(File) error) error {
	var columns []column
	files := 0
	for {
		raw, err := r.next()
		if err != nil {
			return err
		}
		if raw[0] == '[' {
			values, err := decodeRow(raw, columns)
			if err != nil {
				return err
			}
			r.sum.Write(raw)
			if err := to.row(values); err != nil {
				return err
			}
			continue
		}
		var l struct {
			File
			tableLine
			counterLine
			endLine
		}
		if json.Unmarshal(raw, &l) != nil {
			return ErrDamaged
		}
		if l.End {
			return r.finish(l.endLine)
		}
		r.sum.Write(raw)
		switch {
		case l.Name != "" && len(l.Content) <= maxFile && files < maxFiles:
			files++
			err = keep(l.File)
		case l.Table != "":
			if columns, err = l.tableLine.columns(); err == nil {
				err = to.table(l.Table, columns)
			}
		case l.Counter != "":
			err = to.counter(l.Counter, l.Value)
		default:
			err = ErrDamaged
		}
		if err != nil {
			return err
		}
	}
}

// finish verifies the last line, and that nothing follows it.
func (r *reader) finish(l endLine) error {
	if l.Lines != r.lines-1 || l.SHA256 != hex.EncodeToString(r.sum.Sum(nil)) {
		return ErrDamaged
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return ErrDamaged
	}
	return nil
}

// columns returns the columns of the table.
func (l tableLine) columns() ([]column, error) {
	if len(l.Columns) == 0 || len(l.Columns) > maxColumns || len(l.Columns) != len(l.Kinds) {
		return nil, ErrDamaged
	}
	var columns []column
	for i, name := range l.Columns {
		columns = append(columns, column{name: name, kind: l.Kinds[i]})
	}
	return columns, nil
}

// decodeRow returns the values of a row with the given columns.
func decodeRow(raw []byte, columns []column) ([]any, error) {
	var cells []json.RawMessage
	if json.Unmarshal(raw, &cells) != nil || len(cells) != len(columns) || len(columns) == 0 {
		return nil, ErrDamaged
	}
	values := make([]any, len(cells))
	for i, cell := range cells {
		if bytes.Equal(cell, []byte("null")) {
			continue
		}
		var text string
		var err error
		if columns[i].kind != kindInt {
			err = json.Unmarshal(cell, &text)
		}
		switch columns[i].kind {
		case kindInt:
			values[i], err = strconv.ParseInt(string(cell), 10, 64)
		case kindText:
			if values[i] = text; !utf8.ValidString(text) {
				err = ErrDamaged
			}
		case kindBytes:
			values[i], err = base64.StdEncoding.DecodeString(text)
		default:
			err = ErrDamaged
		}
		if err != nil {
			return nil, ErrDamaged
		}
	}
	return values, nil
}
