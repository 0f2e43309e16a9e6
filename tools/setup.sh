#!/usr/bin/env bash
# Brings what the reconciler's builds, tests and demo need and this machine lacks, and says what it does.
# As root, Debian packages are installed; as another user, PostgreSQL is unpacked into a folder of the user's cache.
# usage: tools/setup.sh demo|test
set -euo pipefail
for_what=${1:-test}
say() { echo "setup: $*"; }
cache=${XDG_CACHE_HOME:-$HOME/.cache}/reconciler

command -v go >/dev/null || { say "Go 1.26 or newer is needed: https://go.dev/dl/"; exit 1; }
command -v git >/dev/null || { say "git is needed: apt-get install git"; exit 1; }

find_postgres() {
  local d
  for d in "${PGBIN:-}" "$cache"/postgres/bin /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin; do
    [ -n "$d" ] && [ -x "$d/initdb" ] && [ -x "$d/postgres" ] && { echo "$d"; return; }
  done
  command -v postgres >/dev/null && command -v initdb >/dev/null && dirname "$(readlink -f "$(command -v postgres)")"
}

# unpack_postgres fetches PostgreSQL's Debian packages and unpacks them without root. Wrappers name the libraries' folder.
unpack_postgres() {
  local root=$cache/postgres/root state=$cache/apt
  mkdir -p "$root" "$state"/lists/partial "$state"/archives/partial "$cache"/postgres/bin
  local apt=(-o Dir::State="$state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$state" -o APT::Sandbox::User= -o Debug::NoLocking=1)
  apt-get "${apt[@]}" -qq update
  local packages
  packages=$(apt-get "${apt[@]}" -qq --no-install-recommends --print-uris install postgresql-15 2>/dev/null | sed -nE "s/^'[^']*' ([^_]+)_.*/\1/p" | grep -vE '^(libllvm|libz3|postgresql-client-common|postgresql-common|ssl-cert|perl|libjson-perl|sensible-utils)')
  (cd "$state"/archives && apt-get "${apt[@]}" -qq download $packages)
  local deb
  for deb in "$state"/archives/*.deb; do dpkg -x "$deb" "$root"; done
  local libraries program
  libraries=$(find "$root" -name '*.so*' -printf '%h\n' | sort -u | grep -v /postgresql/ | paste -sd:)
  for program in initdb postgres; do
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$(echo "$root"/usr/lib/postgresql/*/bin/$program)" >"$cache/postgres/bin/$program"
    chmod +x "$cache/postgres/bin/$program"
  done
  rm -rf "$state"
}

if [ -z "$(find_postgres || true)" ]; then
  if [ "$(id -u)" = 0 ]; then
    say "installing PostgreSQL (apt-get install postgresql-15), about half a minute"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends postgresql-15 >/dev/null
  elif command -v apt-get >/dev/null; then
    say "unpacking PostgreSQL into $cache/postgres (no root needed), about half a minute"
    unpack_postgres
  else
    say "PostgreSQL 15 or newer is needed; install it, or set PGBIN to the folder of initdb and postgres"
    exit 1
  fi
fi
say "PostgreSQL: $(find_postgres)"

if [ "$for_what" = test ]; then
  cd "$(dirname "$0")/.."
  key=$(cat tools/gitea/go.mod tools/gitea/go.sum | sha256sum | cut -c1-16)
  if [ ! -x bin/gitea ] || [ "$(cat bin/gitea.key 2>/dev/null)" != "$key" ]; then
    if [ -x "$cache/gitea-$key" ]; then
      say "Gitea: from $cache"
      mkdir -p bin && cp "$cache/gitea-$key" bin/gitea
    else
      say "building Gitea 1.26.0 for the tests, once: 4 to 8 minutes on two cores"
      (cd tools/gitea && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.Version=1.26.0' -o ../../bin/gitea code.gitea.io/gitea)
      mkdir -p "$cache" && cp bin/gitea "$cache/gitea-$key"
    fi
    echo "$key" >bin/gitea.key
  fi
  (cd tools/gitea && go mod download code.gitea.io/gitea) # its templates are served from the module's folder
  say "Gitea: bin/gitea"
fi
