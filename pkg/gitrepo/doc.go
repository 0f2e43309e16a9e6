// Package gitrepo talks to one remote Git repository: it asks for its refs, fetches commits into a mirror on disk, reads
// and merges trees there, and makes and pushes commits.
//
// What a commit holds is read from Git's objects and never from a work tree, and every read says one of three things:
// here it is, it is provably not there, or it could not be read. An object that is missing or damaged is always the
// third. Nothing follows a symlink, and what a foreign server sends is bounded in bytes, memory and time.
//
// A mirror is a bare repository of packs with the full history of what was fetched, which the git command can read. It
// is a cache: it may be lost or damaged at any time, and is then made anew. Where the server can, blobs beyond the file
// limit are left out of it.
//
// The protocol is spoken over http and https. Not here: checking out files, submodules, LFS, SHA-256 repositories, ssh,
// when to look at a repository (gitwatch), and what forges know beyond Git (forge).
package gitrepo
