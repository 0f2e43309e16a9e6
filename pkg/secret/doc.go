// Package secret keeps secret values from leaving: a [Keyring] encrypts what is stored, with a key that is outside the
// database, and a [Redactor] takes known values out of what is written to logs, reports and errors.
//
// It decides neither what is secret (the rooms that handle values do) nor where sealed values are stored.
package secret
