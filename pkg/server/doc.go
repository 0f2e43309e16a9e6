// Package server is the HTTP side: the API under /api/v1 with its OpenAPI 3.1 description, the pages that statuses and
// comments link to, health, readiness and metrics.
//
// Handlers translate; they decide nothing. Who may do what is checked in one place, and nothing is readable without a
// token but /healthz, /readyz and the webhooks, which have signatures of their own.
package server
