package gitrepo

import (
	"container/heap"
	"context"
	"fmt"
)

// IsAncestor says whether a is b or in b's history.
func (m *Mirror) IsAncestor(ctx context.Context, a, b Hash) (bool, error) {
	if _, err := m.commitObject(a); err != nil {
		return false, fmt.Errorf("compare history: %w", err)
	}
	start, err := m.commitObject(b)
	if err != nil {
		return false, fmt.Errorf("compare history: %w", err)
	}
	id, _ := a.oid()
	found, err := isAncestor(ctx, m.store, id, start)
	if err != nil {
		return false, fmt.Errorf("compare history: %w", err)
	}
	return found, nil
}

func isAncestor(ctx context.Context, from objects, id oid, start commitObject) (bool, error) {
	seen := map[oid]bool{start.id: true}
	for queue := []commitObject{start}; len(queue) > 0; queue = queue[1:] {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		if queue[0].id == id {
			return true, nil
		}
		for _, p := range queue[0].parents {
			if seen[p] {
				continue
			}
			seen[p] = true
			c, err := readCommit(from, p)
			if err != nil {
				return false, err
			}
			queue = append(queue, c)
		}
	}
	return false, nil
}

// MergeBase returns the commit from which two lines of history parted; ok is false if they share none. Of several, as
// after crosswise merges, it is the newest.
func (m *Mirror) MergeBase(ctx context.Context, a, b Hash) (base Hash, ok bool, err error) {
	left, err := m.commitObject(a)
	if err != nil {
		return "", false, fmt.Errorf("find merge base: %w", err)
	}
	right, err := m.commitObject(b)
	if err != nil {
		return "", false, fmt.Errorf("find merge base: %w", err)
	}
	c, ok, err := mergeBase(ctx, m.store, left, right)
	if err != nil || !ok {
		return "", false, err
	}
	return c.id.hash(), true, nil
}

// Marks of commits while a merge base is looked for.
const (
	fromLeft = 1 << iota
	fromRight
	// stale: below a common commit, so no better one.
	stale
	both = fromLeft | fromRight
)

// byTime is a heap of commits, newest first; equal times are ordered by hash, so that the same history gives the same.
type byTime []commitObject

func (q byTime) Len() int      { return len(q) }
func (q byTime) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *byTime) Push(x any)   { *q = append(*q, x.(commitObject)) }

func (q byTime) Less(i, j int) bool {
	a, b := q[i], q[j]
	if !a.committer.when.Equal(b.committer.when) {
		return a.committer.when.After(b.committer.when)
	}
	return string(a.id[:]) < string(b.id[:])
}

func (q *byTime) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// mergeBase goes back from both sides at once, newest first, until everything left is below a common commit.
func mergeBase(ctx context.Context, from objects, left, right commitObject) (commitObject, bool, error) {
	marks := map[oid]int{}
	queue := &byTime{}
	fresh := 0 // commits whose last mark is not stale and that are still to be looked at
	waiting := map[oid]bool{}
	mark := func(c commitObject, bits int) {
		before := marks[c.id]
		after := before | bits
		if after == before {
			return
		}
		wasFresh := waiting[c.id] && before&stale == 0
		marks[c.id] = after
		if !waiting[c.id] {
			waiting[c.id] = true
			heap.Push(queue, c)
		}
		if isFresh := after&stale == 0; isFresh && !wasFresh {
			fresh++
		} else if !isFresh && wasFresh {
			fresh--
		}
	}
	mark(left, fromLeft)
	mark(right, fromRight)
	var common []commitObject
	for fresh > 0 {
		if err := context.Cause(ctx); err != nil {
			return commitObject{}, false, err
		}
		c := heap.Pop(queue).(commitObject)
		waiting[c.id] = false
		bits := marks[c.id]
		if bits&stale == 0 {
			fresh--
		}
		if bits&(both|stale) == both {
			common = append(common, c)
			bits |= stale
			marks[c.id] = bits
		}
		for _, p := range c.parents {
			parent, err := readCommit(from, p)
			if err != nil {
				return commitObject{}, false, err
			}
			mark(parent, bits)
		}
	}
	return newestOf(ctx, from, common)
}

// newestOf returns the newest commit that is not in the history of another one.
func newestOf(ctx context.Context, from objects, common []commitObject) (commitObject, bool, error) {
	for i, c := range common {
		below := false
		for j, other := range common {
			if i == j {
				continue
			}
			is, err := isAncestor(ctx, from, c.id, other)
			if err != nil {
				return commitObject{}, false, err
			}
			below = below || is
		}
		if !below {
			return c, true, nil
		}
	}
	return commitObject{}, false, nil
}
