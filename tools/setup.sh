#!/usr/bin/env bash
# Brings what the reconciler's builds, tests and demo need and this machine lacks, and says what it does.
# As root, PostgreSQL is installed from Debian's packages; as another user it is unpacked into a folder of the user's cache, as
# everything else is.
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

# unpack fetches Debian packages with what they need and unpacks them into a folder without root; $1 is the folder, $2 a
# pattern of packages to leave out, the rest are packages. It prints the folders of their libraries as LD_LIBRARY_PATH has them.
unpack() {
  local root=$1 without=$2 state=$cache/apt packages deb
  shift 2
  mkdir -p "$root" "$state"/lists/partial "$state"/archives/partial
  local apt=(-o Dir::State="$state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$state" -o APT::Sandbox::User= -o Debug::NoLocking=1)
  apt-get "${apt[@]}" -qq update
  packages=$(apt-get "${apt[@]}" -qq --no-install-recommends --print-uris install "$@" 2>/dev/null | sed -nE "s/^'[^']*' ([^_]+)_.*/\1/p" | grep -vE "^($without)\$")
  (cd "$state"/archives && apt-get "${apt[@]}" -qq download $packages)
  for deb in "$state"/archives/*.deb; do dpkg -x "$deb" "$root"; done
  rm -rf "$state"
  find "$root" -name '*.so*' -printf '%h\n' | sort -u | grep -vE '/(postgresql|faketime)/?' | paste -sd:
}

# wrap writes a program that runs another one with libraries of its own.
wrap() {
  printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$3" "$2" >"$1"
  chmod +x "$1"
}

unpack_postgres() {
  local root=$cache/postgres/root libraries program
  libraries=$(unpack "$root" 'libllvm.*|libz3.*|postgresql-client-common|postgresql-common|ssl-cert|perl|libjson-perl|sensible-utils' postgresql-15)
  mkdir -p "$cache"/postgres/bin
  for program in initdb postgres pg_basebackup; do
    wrap "$cache/postgres/bin/$program" "$(echo "$root"/usr/lib/postgresql/*/bin/$program)" "$libraries"
  done
}

# bring sees to what tests need of a Debian package: $1 the package, $2 a file of it, $3 what it is for. It is unpacked and
# not installed, so that no service is started; for root where the users that servers run as may read it.
bring() {
  local root=$cache/tools/root libraries
  [ "$(id -u)" = 0 ] && root=/var/cache/reconciler/tools/root
  compgen -G "/$2" >/dev/null || compgen -G "$root/$2" >/dev/null && return
  command -v apt-get >/dev/null || { say "$1 is needed for $3"; exit 1; }
  say "unpacking $1 for $3 into $root"
  libraries=$(unpack "$root" 'ssl-cert|perl|python3.*|postgresql.*|ucf|sensible-utils' "$1")
  case $2 in usr/bin/* | usr/sbin/*)
    mv "$root/$2" "$root/$2.real"
    wrap "$root/$2" "$root/$2.real" "$libraries"
    ;;
  esac
}

# What an earlier version of this script unpacked lacks a program that tests need by now.
[ -x "$cache"/postgres/bin/pg_basebackup ] || rm -rf "$cache"/postgres

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
  bring pgbouncer usr/sbin/pgbouncer "tests through a pooler"
  bring faketime 'usr/lib/*/faketime/libfaketime.so.1' "tests of stepped clocks"
  bring prometheus usr/bin/promtool "tests of the alerts"
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
  helm=$(cat tools/helm/go.mod tools/helm/go.sum | sha256sum | cut -c1-16)
  if [ ! -x bin/helm ] || [ "$(cat bin/helm.key 2>/dev/null)" != "$helm" ]; then
    if [ ! -x "$cache/helm-$helm" ]; then
      say "building Helm for the tests of the chart, once: 2 to 5 minutes on two cores"
      mkdir -p "$cache"
      (cd tools/helm && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$cache/helm-$helm" helm.sh/helm/v3/cmd/helm)
    fi
    mkdir -p bin && cp "$cache/helm-$helm" bin/helm && echo "$helm" >bin/helm.key
  fi
  (cd tools/gitea && go mod download code.gitea.io/gitea) # its templates are served from the module's folder
  say "Gitea: bin/gitea"
fi
