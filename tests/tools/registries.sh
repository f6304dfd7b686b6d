#!/bin/bash
# registries.sh FOLDER: builds into FOLDER/bin what Debian does not have, without installing anything: referrers-registry, a registry with the referrers API
# (tests/tools/registry/main.go on go-containerregistry), and conformance, the distribution-spec's own test suite. Needs a Go newer than Debian 12's and its
# module proxy. What is there stays; what cannot be had is reported and left out. Status 0 when at least one is there.
set -u
[ $# = 1 ] || { echo "usage: registries.sh FOLDER" >&2; exit 2; }
mkdir -p "$1/bin" || exit 1
here=$(cd "$(dirname "$0")" && pwd)
folder=$(cd "$1" && pwd)
say() { echo "registries.sh: $*" >&2; }

# One run at a time: several test runs may share the folder.
exec 9> "$folder/lock" && flock 9

# No other compiler than the one that is here; modules and what is built stay below FOLDER.
export GOTOOLCHAIN=local GOFLAGS=-modcacherw GOPATH=$folder/go GOCACHE=$folder/cache

# build NAME MODULE@VERSION PACKAGE [FILE]: PACKAGE, or FILE with the module at hand.
build() {
  local place=$folder/$1
  [ -x "$folder/bin/$1" ] && return 0
  command -v go >/dev/null || { say "$1: no go"; return 1; }
  rm -rf "$place" && mkdir -p "$place" || return 1
  [ -z "${4-}" ] || cp "$4" "$place/" || return 1
  if ! (cd "$place" && go mod init local && timeout 200 go get "$2" && go build -trimpath -o "$folder/bin/$1.new" "$3") >"$place/log" 2>&1; then
    say "$1: $(tail -n 1 "$place/log")"
    return 1
  fi
  mv "$folder/bin/$1.new" "$folder/bin/$1"
}

build referrers-registry github.com/google/go-containerregistry@v0.22.1 . "$here/registry/main.go"
suite=github.com/opencontainers/distribution-spec/conformance
build conformance $suite@v0.0.0-20260831232431-97274622c111 $suite
[ ! -x "$folder/bin/conformance" ] || [ ! -x "$folder/bin/referrers-registry" ] || rm -rf "$folder/go" "$folder/cache"
ls "$folder"/bin/* >/dev/null 2>&1
