package gitrepo

import (
	"bytes"
	"slices"
)

// maxEdits bounds the search for the shortest difference: beyond it two versions count as altogether different. It keeps
// the work for hostile files at a few million steps and 16 MB.
const maxEdits = 2000

// mergeLines merges two changed versions of a text line by line; clean is false if both changed the same or adjacent
// lines differently.
func mergeLines(base, ours, theirs []byte) (merged []byte, clean bool) {
	ids := map[string]int{}
	b, o, t := lines(base, ids), lines(ours, ids), lines(theirs, ids)
	toOurs, toTheirs := align(b.ids, o.ids), align(b.ids, t.ids)
	var out []byte
	for i, j, k := 0, 0, 0; ; {
		for i < len(b.ids) && toOurs[i] == j && toTheirs[i] == k {
			out = append(out, b.text[i]...)
			i, j, k = i+1, j+1, k+1
		}
		if i == len(b.ids) && j == len(o.ids) && k == len(t.ids) {
			return out, true
		}
		// The next line that all three have ends what differs.
		i2, j2, k2 := i, len(o.ids), len(t.ids)
		for i2 < len(b.ids) && (toOurs[i2] < 0 || toTheirs[i2] < 0) {
			i2++
		}
		if i2 < len(b.ids) {
			j2, k2 = toOurs[i2], toTheirs[i2]
		}
		was, mine, other := b.ids[i:i2], o.ids[j:j2], t.ids[k:k2]
		switch {
		case slices.Equal(mine, was):
			out = append(out, bytes.Join(t.text[k:k2], nil)...)
		case slices.Equal(other, was) || slices.Equal(mine, other):
			out = append(out, bytes.Join(o.text[j:j2], nil)...)
		default:
			return nil, false
		}
		i, j, k = i2, j2, k2
	}
}

// numbered is a text in lines, each with a number that is the same for equal lines.
type numbered struct {
	text [][]byte
	ids  []int
}

func lines(text []byte, ids map[string]int) (out numbered) {
	for line := range bytes.Lines(text) {
		id, ok := ids[string(line)]
		if !ok {
			id = len(ids)
			ids[string(line)] = id
		}
		out.text, out.ids = append(out.text, line), append(out.ids, id)
	}
	return out
}

// align returns for each line of a the line of b that it became, or -1. The result rises.
func align(a, b []int) []int {
	out := make([]int, len(a))
	for i := range out {
		out[i] = -1
	}
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		out[head] = head
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
		out[len(a)-tail] = len(b) - tail
	}
	shortest(a[head:len(a)-tail], b[head:len(b)-tail], func(i, j int) { out[head+i] = head + j })
	return out
}

// shortest finds the shortest way from a to b by deleting and inserting (E. W. Myers, An O(ND) Difference Algorithm,
// 1986) and reports the lines that stay, the last one first. Beyond maxEdits none stays.
func shortest(a, b []int, stays func(i, j int)) {
	limit := min(len(a)+len(b), maxEdits)
	// reach holds for each diagonal (i-j) the furthest i; trace keeps what it was before each further edit.
	reach := make([]int32, 2*limit+2)
	var trace [][]int32
	for d := 0; d <= limit; d++ {
		trace = append(trace, slices.Clone(reach[limit-d:limit+d+1]))
		for diagonal := -d; diagonal <= d; diagonal += 2 {
			at := limit + diagonal
			i := 0
			switch {
			case d == 0:
			case diagonal == -d || diagonal != d && reach[at-1] < reach[at+1]:
				i = int(reach[at+1])
			default:
				i = int(reach[at-1]) + 1
			}
			j := i - diagonal
			for i < len(a) && j < len(b) && a[i] == b[j] {
				i, j = i+1, j+1
			}
			reach[at] = int32(i)
			if i == len(a) && j == len(b) {
				walkBack(trace, len(a), len(b), stays)
				return
			}
		}
	}
}

// walkBack follows the trace from the end to the beginning. trace[d] holds the diagonals from -d to d.
func walkBack(trace [][]int32, i, j int, stays func(i, j int)) {
	for d := len(trace) - 1; d > 0; d-- {
		reach := func(diagonal int) int { return int(trace[d][d+diagonal]) }
		diagonal := i - j
		before := diagonal - 1
		if diagonal == -d || diagonal != d && reach(diagonal-1) < reach(diagonal+1) {
			before = diagonal + 1
		}
		startI := reach(before)
		startJ := startI - before
		for i > startI && j > startJ {
			i, j = i-1, j-1
			stays(i, j)
		}
		i, j = startI, startJ
	}
	for i > 0 && j > 0 {
		i, j = i-1, j-1
		stays(i, j)
	}
}
