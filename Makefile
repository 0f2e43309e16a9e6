# make is the interface; `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
GO ?= go
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/reconciler
# PostgreSQL that `make setup` unpacked for a user who is not root.
export PGBIN ?= $(if $(wildcard $(CACHE)/postgres/bin/postgres),$(CACHE)/postgres/bin,)
RUN ?= .
LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: help setup build demo test race e2e chaos lint generate verify bench soak fuzz clean
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Bring what tests need: PostgreSQL, Gitea (the other targets call it)
	@tools/setup.sh test

build: ## Build bin/reconciler
	@echo "build: bin/reconciler"
	@$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/reconciler ./cmd/reconciler

demo: ## Walk the story on this machine; EXIT=1 ends by itself
	@tools/setup.sh demo
	@$(MAKE) --no-print-directory build
	@PGBIN=$${PGBIN:-$$(test -x $(CACHE)/postgres/bin/postgres && echo $(CACHE)/postgres/bin)} bin/reconciler demo $(if $(EXIT),--exit)

test: setup ## Run all tests but the end-to-end ones
	@PGBIN=$${PGBIN:-$$(test -x $(CACHE)/postgres/bin/postgres && echo $(CACHE)/postgres/bin)} $(GO) test -parallel 4 ./...

race: setup ## Run all tests under the race detector (needs a C compiler)
	@$(GO) test -race ./...

e2e: setup build ## Run the end-to-end tests; RUN=regex chooses
	@tools/previous.sh
	@PGBIN=$${PGBIN:-$$(test -x $(CACHE)/postgres/bin/postgres && echo $(CACHE)/postgres/bin)} $(GO) test -tags e2e -count=1 -parallel 4 -timeout 30m -v -run '$(RUN)' ./internal/e2e/...

chaos: setup build ## Break everything for DURATION (default 3m) as SEED=n decides (or random), and check what is left
	@PGBIN=$${PGBIN:-$$(test -x $(CACHE)/postgres/bin/postgres && echo $(CACHE)/postgres/bin)} SEED=$(SEED) DURATION=$(DURATION) FAULTS=$(FAULTS) $(GO) test -tags chaos -count=1 -timeout 60m -v ./internal/chaos

lint: ## Check style and dependencies
	@cd tools/lint && $(GO) build -o ../../bin/golangci-lint $(LINT)
	@bin/golangci-lint run

generate: ## Write generated files anew
	@$(GO) generate ./...

verify: generate ## Check that generated files, formatting and modules are clean
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt"; exit 1; }
	@$(GO) mod tidy -diff
	@cd internal/benchmark/peers && $(GO) mod tidy -diff
	@git diff --exit-code -- docs || { echo "generated files differ: commit what make generate wrote"; exit 1; }

bench: setup ## Run every benchmark and write bench/*.json; ONCE=1 only sees that they run
	@PGBIN=$${PGBIN:-$$(test -x $(CACHE)/postgres/bin/postgres && echo $(CACHE)/postgres/bin)} $(GO) run ./internal/benchmark $(if $(ONCE),-once)
	@cd internal/benchmark/peers && PGBIN=$${PGBIN:-$$(test -x $(CACHE)/postgres/bin/postgres && echo $(CACHE)/postgres/bin)} $(GO) run . $(if $(ONCE),-jobs 500 -rounds 1 -only throughput,-out ../../../bench/queue.json)

soak: setup ## Measure the queue beside 10 million jobs that ended and 100,000 that wait, for DURATION (default 5m)
	@RECONCILER_SOAK_HISTORY=10000000 RECONCILER_SOAK_QUEUED=100000 PGBIN=$${PGBIN:-$$(test -x $(CACHE)/postgres/bin/postgres && echo $(CACHE)/postgres/bin)} $(GO) test -run '^$$' -bench Soak -benchtime $(or $(DURATION),5m) -timeout 2h ./pkg/queue

fuzz: ## Run each fuzz target for FUZZTIME (default 30s)
	@for t in $$(grep -rlE "^func Fuzz" --include=*_test.go . | xargs -n1 dirname | sort -u); do for f in $$(grep -hoE "^func Fuzz\w+" $$t/*_test.go | cut -d" " -f2); do echo "$$t $$f"; $(GO) test -run "^$$" -fuzz "^$$f\$$" -fuzztime $(or $(FUZZTIME),30s) $$t || exit 1; done; done

clean: ## Remove what was built
	@rm -rf bin
