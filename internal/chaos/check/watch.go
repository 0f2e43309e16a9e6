package check

import (
	"io"
	"os"
	"path/filepath"
	"time"
)

// Observed are the serials that were seen of each application in a folder, in their order, one for each time that its file was
// put there anew; "" is that it was gone.
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
		now, serial := glimpse(path, before)
		if (now == nil) == (before == nil) && (now == nil || same(now, before)) {
			continue
		}
		w.files[name] = now
		w.serials[name] = append(w.serials[name], serial)
	}
}

// glimpse returns what a file is, nil if it is not there, and its serial if it is another one than before. Both are of one
// file, whatever takes its place meanwhile.
func glimpse(path string, before os.FileInfo) (now os.FileInfo, serial string) {
	file, err := os.Open(path)
	if err != nil {
		return nil, ""
	}
	defer func() { _ = file.Close() }()
	if now, err = file.Stat(); err != nil {
		return nil, ""
	}
	if before != nil && same(now, before) {
		return now, ""
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, ""
	}
	return now, serialIn(string(text))
}

func same(a, b os.FileInfo) bool { return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) }
