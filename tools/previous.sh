#!/usr/bin/env bash
# Builds the version before this one into bin/previous, for the test of a rolling upgrade. It is made of this repository's
# history: a checkout without history has none, and the test says so.
set -euo pipefail
cd "$(dirname "$0")/.."
# The last commit of the previous version.
commit=3168b8508878b041bb1407630b41b57f1b6a3c08
cache=${XDG_CACHE_HOME:-$HOME/.cache}/reconciler
if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
  rm -f bin/previous
  if [ "$(git rev-parse --is-shallow-repository 2>/dev/null || echo true)" != true ]; then
    echo "previous: the history has no commit $commit: name the last one of the previous version here"
    exit 1
  fi
  echo "previous: this checkout does not reach back to $commit: the upgrade is not tested (git fetch --unshallow)"
  exit 0
fi
if [ ! -x "$cache/previous-$commit" ]; then
  echo "previous: building $commit, once"
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  git archive "$commit" | tar -x -C "$tree"
  mkdir -p "$cache"
  (cd "$tree" && go build -trimpath -ldflags '-s -w -X main.version=previous' -o "$cache/previous-$commit" ./cmd/reconciler)
fi
mkdir -p bin && cp "$cache/previous-$commit" bin/previous
