package fault

import "encoding/json"

// MarshalJSON writes all that a reader needs who does not have the catalogue: the remedy is the catalogue's where the fault
// has none of its own, and the link leads to the code's page.
func (f Fault) MarshalJSON() ([]byte, error) {
	type told Fault
	out := told(f)
	out.Remedy, out.Link = f.Advice(), f.Code.Link()
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes, and what was stored before it filled anything in. What the catalogue says is
// left out again: a stored fault is told in the words of the version that tells it.
func (f *Fault) UnmarshalJSON(text []byte) error {
	type told Fault
	var in told
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*f = Fault(in)
	f.Link = ""
	if f.Remedy == f.Code.Entry().Remedy {
		f.Remedy = ""
	}
	return nil
}
