package score

import "github.com/innominatus/reconciler/pkg/fault"

// Show adds the source line to faults that were found later, by those who plan or render the workload. Faults in other
// files, and those that have an excerpt already, stay as they are.
func (w *Workload) Show(faults fault.List) {
	for _, f := range faults {
		if src := sourceOf(w.sources, f.Place.File); src != nil && f.Excerpt == "" {
			f.Show(src.data)
		}
	}
}
