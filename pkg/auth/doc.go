// Package auth says who may use the API: bearer tokens with scopes, and sessions of browsers that stand for a token.
//
// Only hashes are stored, so that a copy of the database lets nobody in.
package auth
