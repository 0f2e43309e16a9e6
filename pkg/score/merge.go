package score

// merge returns base with an override laid over it: maps are merged key by key, lists and scalars are replaced, and
// null removes the key. Values keep the place they were written at; a merged map keeps the place of the base.
func merge(base, over *Node) *Node {
	if over.Kind != Map {
		return over
	}
	if base == nil || base.Kind != Map {
		base = &Node{Kind: Map, Place: over.Place} // so that nulls below are removed, too
	}
	out := &Node{Kind: Map, Place: base.Place, Entries: make([]Entry, 0, len(base.Entries)+len(over.Entries))}
	overs := index(over)
	for _, e := range base.Entries {
		i, found := overs[e.Key]
		switch {
		case !found:
			out.Entries = append(out.Entries, e)
		case over.Entries[i].Value.Kind != Null:
			o := over.Entries[i]
			if o.Value.Kind == Map && e.Value.Kind == Map {
				o.Place = e.Place
			}
			o.Value = merge(e.Value, o.Value)
			out.Entries = append(out.Entries, o)
		}
	}
	bases := index(base)
	for _, o := range over.Entries {
		if _, found := bases[o.Key]; found || o.Value.Kind == Null {
			continue
		}
		o.Value = merge(nil, o.Value)
		out.Entries = append(out.Entries, o)
	}
	return out
}

func index(n *Node) map[string]int {
	out := make(map[string]int, len(n.Entries))
	for i, e := range n.Entries {
		out[e.Key] = i
	}
	return out
}
