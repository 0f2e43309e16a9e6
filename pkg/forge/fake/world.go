package fake

import (
	"slices"

	"github.com/innominatus/reconciler/pkg/forge"
)

// AddRepository makes a repository, OWNER/NAME, with one commit, which it returns.
func (f *Forge) AddRepository(name string) (commit string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &repository{commits: map[string]bool{}, statuses: map[string]map[string]forge.Status{}, comments: map[int64][]forge.Comment{}}
	f.repositories[name] = r
	return f.commit(r)
}

func (f *Forge) commit(r *repository) string {
	id := f.id()
	r.commits[id] = true
	return id
}

// AddCommit makes a commit and returns its id; "" if there is no such repository.
func (f *Forge) AddCommit(name string) (commit string) {
	f.change(name, func(r *repository) { commit = f.commit(r) })
	return commit
}

// AddPull opens a pull request and returns it. The number and the state are set; a head commit that is missing is made,
// and the base is main if none is given.
func (f *Forge) AddPull(name string, p forge.Pull) forge.Pull {
	f.change(name, func(r *repository) {
		p.Number, p.State = int64(len(r.pulls))+1, forge.Open
		if p.HeadCommit == "" {
			p.HeadCommit = f.id()
		}
		if p.BaseRef == "" {
			p.BaseRef = "main"
		}
		r.commits[p.HeadCommit] = true
		r.pulls = append(r.pulls, p)
	})
	return p
}

// PushPull gives a pull request another head commit.
func (f *Forge) PushPull(name string, number int64, head string) {
	f.change(name, func(r *repository) {
		if p, err := r.pull(number); err == nil {
			r.commits[head] = true
			p.HeadCommit = head
		}
	})
}

// MergePull merges a pull request and returns the merge's commit; "" if there is no such pull request.
func (f *Forge) MergePull(name string, number int64) (commit string) {
	f.change(name, func(r *repository) {
		if p, err := r.pull(number); err == nil {
			commit = f.commit(r)
			p.State, p.MergeCommit = forge.Merged, commit
		}
	})
	return commit
}

// MergePullAs notes that a pull request was merged as a commit that is in the Git repository.
func (f *Forge) MergePullAs(name string, number int64, commit string) {
	f.change(name, func(r *repository) {
		if p, err := r.pull(number); err == nil {
			r.commits[commit] = true
			p.State, p.MergeCommit = forge.Merged, commit
		}
	})
}

// ClosePull closes a pull request.
func (f *Forge) ClosePull(name string, number int64) {
	f.change(name, func(r *repository) {
		if p, err := r.pull(number); err == nil {
			p.State = forge.Closed
		}
	})
}

// AddComment writes a comment as somebody else and returns its id; 0 if that is not possible.
func (f *Forge) AddComment(name string, number int64, author, body string) (id int64) {
	f.change(name, func(r *repository) {
		if written, err := f.write(r, number, author, body); err == nil {
			id = written
		}
	})
	return id
}

// RemoveComment deletes a comment as somebody else.
func (f *Forge) RemoveComment(name string, id int64) {
	f.change(name, func(r *repository) {
		for number, list := range r.comments {
			r.comments[number] = slices.DeleteFunc(list, func(c forge.Comment) bool { return c.ID == id })
		}
	})
}

// change runs act with a repository if it is there.
func (f *Forge) change(name string, act func(*repository)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r, ok := f.repositories[name]; ok {
		act(r)
	}
}
