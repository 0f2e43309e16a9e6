// Package gitserver serves a folder of bare Git repositories over HTTP by the git command's own http-backend. It is for
// demos and tests, on loopback: it has one account at most, and makes no attempt to be a forge.
package gitserver
