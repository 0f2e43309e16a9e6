package score

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/innominatus/reconciler/pkg/fault"
)

// fileTable numbers the files of a tree; there are as many as overrides plus one.
type fileTable struct{ names []string }

func (t *fileTable) number(name string) int {
	if i := slices.Index(t.names, name); i >= 0 {
		return i
	}
	t.names = append(t.names, name)
	return len(t.names) - 1
}

func (t *fileTable) append(b []byte, p fault.Place) []byte {
	b = append(strconv.AppendInt(b, int64(p.Line), 10), ',')
	b = append(strconv.AppendInt(b, int64(p.Column), 10), ',')
	return append(strconv.AppendInt(b, int64(t.number(p.File)), 10), ',')
}

func (n *Node) appendPlaced(b []byte, files *fileTable) []byte {
	b = append(strconv.AppendUint(append(b, '['), uint64(n.Kind), 10), ',')
	b = files.append(b, n.Place)
	switch n.Kind {
	case List:
		b = append(b, '[')
		for i, item := range n.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.appendPlaced(b, files)
		}
		b = append(b, ']')
	case Map:
		b = append(b, '[')
		for i, e := range n.Entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(append(b, '['), e.Key), ',')
			b = files.append(b, e.Place)
			b = append(e.Value.appendPlaced(b, files), ']')
		}
		b = append(b, ']')
	default:
		b = appendString(b, n.Text)
	}
	return append(b, ']')
}

// errShape is what is wrong with bytes that [Node.MarshalJSON] did not write.
var errShape = errors.New("not a stored tree")

// UnmarshalJSON reads what [Node.MarshalJSON] wrote.
func (n *Node) UnmarshalJSON(data []byte) error {
	var stored struct {
		Files []string `json:"files"`
		Root  any      `json:"root"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&stored); err != nil {
		return fmt.Errorf("read stored tree: %w", err)
	}
	u := unstore{files: stored.Files}
	root, err := u.node(stored.Root, 0)
	if err != nil {
		return fmt.Errorf("read stored tree: %w", err)
	}
	*n = *root
	return nil
}

type unstore struct{ files []string }

func (u unstore) node(v any, depth int) (*Node, error) {
	row, ok := v.([]any)
	if !ok || len(row) != 5 || depth > 2*maxDepth {
		return nil, errShape
	}
	kind, err := small(row[0], int(Map))
	if err != nil {
		return nil, err
	}
	n := &Node{Kind: Kind(kind)}
	if n.Place, err = u.place(row[1:4]); err != nil {
		return nil, err
	}
	if n.isScalar() {
		if n.Text, ok = row[4].(string); !ok {
			return nil, errShape
		}
		return n, nil
	}
	content, ok := row[4].([]any)
	if !ok {
		return nil, errShape
	}
	for _, c := range content {
		if n.Kind == List {
			item, err := u.node(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.Items = append(n.Items, item)
			continue
		}
		e, err := u.entry(c, depth+1)
		if err != nil {
			return nil, err
		}
		n.Entries = append(n.Entries, e)
	}
	return n, nil
}

func (u unstore) entry(v any, depth int) (Entry, error) {
	row, ok := v.([]any)
	if !ok || len(row) != 5 {
		return Entry{}, errShape
	}
	key, ok := row[0].(string)
	if !ok {
		return Entry{}, errShape
	}
	at, err := u.place(row[1:4])
	if err != nil {
		return Entry{}, err
	}
	value, err := u.node(row[4], depth)
	return Entry{Key: key, Place: at, Value: value}, err
}

func (u unstore) place(row []any) (fault.Place, error) {
	line, err1 := small(row[0], maxSize)
	column, err2 := small(row[1], maxSize)
	file, err3 := small(row[2], len(u.files)-1)
	if err := errors.Join(err1, err2, err3); err != nil {
		return fault.Place{}, err
	}
	return fault.Place{File: u.files[file], Line: line, Column: column}, nil
}

// small reads a number from 0 to high.
func small(v any, high int) (int, error) {
	number, ok := v.(json.Number)
	if !ok {
		return 0, errShape
	}
	i, err := strconv.Atoi(string(number))
	if err != nil || i < 0 || i > high {
		return 0, errShape
	}
	return i, nil
}
