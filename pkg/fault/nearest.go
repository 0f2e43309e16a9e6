package fault

// Nearest returns the word among candidates that word was probably meant to be, or "" if none is near enough: at most
// a third of its letters (at least one, at most three) are wrong, missing, too many or swapped with a neighbour.
func Nearest(word string, candidates []string) string {
	best, limit := "", min(3, max(1, len(word)/3))+1
	for _, c := range candidates {
		if d := distance(word, c, limit); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance between a and b, or limit if it is not below it.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if lower(a[i]) == lower(b[j]) {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && lower(a[i]) == lower(b[j-1]) && lower(a[i-1]) == lower(b[j]) {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
