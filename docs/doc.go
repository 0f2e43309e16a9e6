// Package docs holds the documentation; this file says how its generated parts are made.
package docs

//go:generate sh -c "cd .. && go run ./internal/gendocs && go run ./cmd/reconciler docs > docs/cli.md && go run ./cmd/reconciler docs --openapi > docs/openapi.json"
