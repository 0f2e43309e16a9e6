package check

import (
	"os"
	"path/filepath"
	"time"
)

// Observed are the serials that were seen of each application in a folder, in their order; "" is that its file was gone.
type Observed map[string][]string

// glance is how often the folder is looked at. What came and went in less time is not seen.
const glance = 20 * time.Millisecond

// Watch looks at a folder again and again until stop is called, which returns what was seen.
func Watch(folder string) (stop func() Observed) {
	seen, end, done := watching{folder: folder, serials: Observed{}, files: map[string]os.FileInfo{}}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(glance)
		defer tick.Stop()
		for {
			seen.look()
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	return func() Observed {
		close(end)
		<-done
		seen.look()
		return seen.serials
	}
}

type watching struct {
	folder  string
	serials Observed
	// files are the manifests as they were seen last.
	files map[string]os.FileInfo
}

func (w *watching) look() {
	entries, _ := os.ReadDir(w.folder) // before the first delivery there is none
	for _, entry := range entries {
		if name := entry.Name(); name[0] != '.' && name[0] != '_' {
			if _, known := w.files[name]; !known {
				w.files[name] = nil
			}
		}
	}
	for name, before := range w.files {
		path := filepath.Join(w.folder, filepath.FromSlash(manifest(name)))
		now, err := os.Stat(path)
		if err != nil {
			now = nil
		}
		if (now == nil) == (before == nil) && (now == nil || os.SameFile(now, before) && now.ModTime().Equal(before.ModTime())) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			text, now = nil, nil
		}
		w.files[name] = now
		w.saw(name, serialIn(string(text)))
	}
}

func (w *watching) saw(name, serial string) {
	if list := w.serials[name]; len(list) == 0 && serial != "" || len(list) > 0 && list[len(list)-1] != serial {
		w.serials[name] = append(list, serial)
	}
}
