#!/usr/bin/env bash
# Builds the version before this one into bin/previous, for the test of a rolling upgrade. It is made of this repository's
# history, which a shallow checkout asks its origin for: without any there is none, and the test says so.
set -euo pipefail
cd "$(dirname "$0")/.."
# The last commit of the previous version.
commit=3168b8508878b041bb1407630b41b57f1b6a3c08
cache=${XDG_CACHE_HOME:-$HOME/.cache}/reconciler
there() { git cat-file -e "$commit^{commit}" 2>/dev/null; }
shallow=$(git rev-parse --is-shallow-repository 2>/dev/null || echo true)
there || [ "$shallow" != true ] || git fetch --quiet --depth 1 origin "$commit" 2>/dev/null || true
if ! there; then
  rm -f bin/previous
  if [ "$shallow" != true ]; then
    echo "previous: the history has no commit $commit: name the last one of the previous version here"
    exit 1
  fi
  echo "previous: this checkout has no commit $commit, nor has its origin: the upgrade is not tested"
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
