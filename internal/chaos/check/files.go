package check

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The files that an application has, once more and without the product: a Deployment and a Service; with a database its Secret,
// Service and StatefulSet. In Git there is an Application of Argo CD as well, and Secrets are in a folder beside the repository.

const (
	// secrets stands before the paths of what is in the folder of Secrets.
	secrets = "secrets:"
	// applications and together are the folders that belong to no application alone; a name cannot begin like that.
	applications, together = "_applications/", "_shared/"
	// private is what the product keeps for itself in a folder.
	private = ".reconciler"
)

// common is the object of the resource that several applications share.
const common = together + "common-all.configmap.yaml"

// listing are the files of a target by their paths, with what is in them.
type listing map[string]string

// drawn is the part of a database's name that is drawn for it.
var drawn = regexp.MustCompile(`(/postgres-[^/]*)-[0-9a-f]{8}\.`)

// put adds a file under its path without what is drawn, or with it if there is such a file already.
func (l listing) put(file, text string) {
	short := drawn.ReplaceAllString(file, "$1.")
	if _, twice := l[short]; twice {
		short = file
	}
	l[short] = text
}

// standing is what an application may be in a target in the end.
type standing struct {
	// may are the Score files one of which it is deployed as; the zero value is that it is not.
	may []scoreFile
	// last is its newest run, which says what it may have left, and names are all that it ever had.
	last  runRow
	names []string
}

func (c *checker) standing(a applicationRow, may ...scoreFile) standing {
	last, _ := c.history.newest(a.ID)
	return standing{may, last, c.history.names(a.ID)}
}

// mayKeep says that a run may have left a file, because going back deletes no data.
func mayKeep(r runRow, file string) bool {
	return (r.Kind == "rollback" || r.State != "succeeded") && strings.HasPrefix(path.Base(file), "postgres-")
}

// root is where the files of an environment begin.
func (c *checker) root(environment string) string {
	if environment == c.InGit {
		return "environments/" + environment + "/"
	}
	return ""
}

// owner returns the name of the application that a file of the deployment repository belongs to, "" for what belongs to none alone.
func (c *checker) owner(file string) string {
	rest, inside := strings.CutPrefix(file, c.root(c.InGit))
	if name, is := strings.CutPrefix(rest, applications); is {
		rest = strings.TrimSuffix(name, ".yaml")
	}
	name, _, _ := strings.Cut(rest, "/")
	if !inside || strings.HasPrefix(name, "_") {
		return ""
	}
	return name
}

// own returns the files that an application has for itself in an environment.
func (c *checker) own(environment string, f scoreFile) (list []string) {
	if !f.found() {
		return nil
	}
	root, hidden, folder := c.root(environment), c.root(environment), f.name+"/"
	if environment == c.InGit {
		hidden = secrets
		list = append(list, root+applications+f.name+".yaml")
	}
	list = append(list, root+manifest(f.name), root+folder+f.name+".service.yaml")
	if f.database {
		database := folder + "postgres-" + f.name
		list = append(list, hidden+database+".secret.yaml", root+database+".service.yaml", root+database+".statefulset.apps.yaml")
	}
	return list
}

// wanted are the files that must be in a target, with who needs them, and those that may be.
type wanted struct {
	must map[string][]scoreFile
	may  map[string]bool
}

// want says which files a target has if applications stand as they do.
func (c *checker) want(environment string, all []standing) wanted {
	w := wanted{map[string][]scoreFile{}, map[string]bool{}}
	for _, s := range all {
		files := map[string]int{}
		for _, f := range s.may {
			list := c.own(environment, f)
			if f.shared {
				list = append(list, c.shared(environment)...)
			}
			for _, file := range list {
				w.may[file] = true
				if files[file]++; files[file] == len(s.may) {
					w.must[file] = s.may
				}
			}
		}
		for _, name := range s.names {
			for _, file := range c.own(environment, scoreFile{path: name, name: name, database: true}) {
				w.may[file] = w.may[file] || mayKeep(s.last, file)
			}
		}
	}
	return w
}

// shared returns the files that are there if any application uses what several share.
func (c *checker) shared(environment string) []string {
	list := []string{c.root(environment) + common}
	if environment == c.InGit {
		list = append(list, c.root(environment)+applications+"_shared.yaml")
	}
	return list
}

// checkFiles compares all files of a target with what applications need.
func (c *checker) checkFiles(ctx context.Context, environment string, all []standing) error {
	have, err := c.list(ctx, environment)
	if err != nil {
		return err
	}
	w := c.want(environment, all)
	for file, text := range have {
		c.Numbers["files"]++
		if !w.may[file] {
			c.violated("%s is in the target of %s, and no application that is deployed has it", file, environment)
		}
		one, must := w.must[file]
		if must && !slices.ContainsFunc(one, func(f scoreFile) bool { return fits(file, text, f) }) {
			c.violated("%s in the target of %s is not what %s with %q makes it: %q", file, environment, one[0].name, one[0].serial, text)
		}
	}
	for file, one := range w.must {
		if _, there := have[file]; !there {
			c.violated("%s is missing in the target of %s, and %s has it", file, environment, one[0].name)
		}
	}
	return nil
}

// fits says that a file is of the application that it must be of, and carries its serial alone if it carries any.
func fits(file, text string, f scoreFile) bool {
	for _, found := range serial.FindAllString(text, -1) {
		if found != f.serial {
			return false
		}
	}
	switch {
	case strings.Contains(file, together) || strings.HasSuffix(file, applications+"_shared.yaml"):
		return text != ""
	case strings.HasSuffix(file, "/"+manifest(f.name)) || file == manifest(f.name):
		return serialIn(text) == f.serial && strings.Contains(text, "reconciler.dev/application: "+f.name+"\n")
	default:
		return strings.Contains(text, "reconciler.dev/application: "+f.name+"\n")
	}
}

// list returns all files of a target.
func (c *checker) list(ctx context.Context, environment string) (listing, error) {
	have := listing{}
	if environment != c.InGit {
		return have, have.walk("", c.Folders[environment].Path)
	}
	texts, err := tree(ctx, c.Deployment, tip)
	if err != nil {
		return nil, err
	}
	first, err := git(ctx, c.Deployment, "rev-list", "--max-parents=0", tip)
	if err != nil {
		return nil, err
	}
	given, err := tree(ctx, c.Deployment, strings.TrimSpace(first))
	if err != nil {
		return nil, err
	}
	for file, text := range texts {
		if before, is := given[file]; !is || before != text {
			have.put(file, text)
		}
	}
	if c.Secrets == "" {
		return have, nil
	}
	return have, have.walk(secrets, c.Secrets)
}

// walk adds all files of a folder, and folders that have none; of what is shared the empty folder stays.
func (l listing) walk(prefix, folder string) error {
	return filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && file == folder {
			return nil // nothing was ever delivered
		}
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(file, folder), string(filepath.Separator)))
		switch {
		case name == private:
			return fs.SkipDir
		case entry.IsDir():
			entries, err := os.ReadDir(file)
			if len(entries) == 0 && name != "" && name+"/" != together {
				l.put(prefix+name+"/", "")
			}
			return err
		case !entry.Type().IsRegular():
			l.put(prefix+name, "")
			return nil
		}
		text, err := os.ReadFile(file)
		l.put(prefix+name, string(text))
		return err
	})
}
