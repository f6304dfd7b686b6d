#!/bin/bash
# peers.sh FOLDER: puts newer versions of the tools that we compare ourselves with into FOLDER/bin, without installing anything:
# skopeo (sid), cosign2 (trixie's cosign), cosign3 (sid's cosign). They come from the Debian archive that this machine's
# apt already uses. What is there stays; what cannot be had is reported and left out. Status 0 when at least one tool is there.
set -u
[ $# = 1 ] || { echo "usage: peers.sh FOLDER" >&2; exit 2; }
mkdir -p "$1/bin" || exit 1
folder=$(cd "$1" && pwd)
say() { echo "peers.sh: $*" >&2; }

# One run at a time: several test runs may share the folder.
exec 9> "$folder/lock" && flock 9

release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
architecture=$(dpkg --print-architecture)
# The archive of the running release; Origin tells it from other repositories, and security has another code name's label.
archive=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
  awk -v release="$release" '$1 == "Debian" && $2 == release { print $3; exit }')
key=$(find /usr/share/keyrings -name 'debian-archive-keyring.*' 2>/dev/null | sort | head -n 1)

# use_suite SUITE: makes apt (the array) speak to that suite alone, with lists and caches of its own.
use_suite() {
  local place=$folder/suite-$1
  mkdir -p "$place"/{lists/partial,cache/archives/partial,none} || return 1
  touch "$place/status"
  printf 'deb [arch=%s%s] %s %s main\n' "$architecture" "${key:+ signed-by=$key}" "$archive" "$1" > "$place/sources.list"
  apt=(-qq -o APT::Sandbox::User=root -o Acquire::Languages=none -o Dir::State="$place" -o Dir::State::status="$place/status"
    -o Dir::Cache="$place/cache" -o Dir::Etc::sourcelist="$place/sources.list" -o Dir::Etc::sourceparts="$place/none"
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts="$place/none")
  [ -e "$place/ready" ] || { apt-get "${apt[@]}" update >/dev/null && touch "$place/ready"; }
}

# unpack INTO PACKAGE…: downloads packages of the suite in use and unpacks them over each other.
unpack() {
  local into=$1 package
  shift
  mkdir -p "$into/packages" "$into/root" || return 1
  for package; do
    (cd "$into/packages" && apt-get "${apt[@]}" download "$package" >/dev/null) || return 1
  done
  for package in "$into"/packages/*.deb; do dpkg-deb -x "$package" "$into/root" || return 1; done
}

# libraries PACKAGE: the library packages that it needs, and those that they need. Programs are left out, and what only they need.
libraries() {
  local known="" new=$1 package
  while [ -n "$new" ]; do
    # shellcheck disable=SC2086 # a list
    new=$(apt-cache "${apt[@]}" depends --no-{recommends,suggests,conflicts,breaks,replaces,enhances} $new |
      awk '$1 ~ /Depends:$/ && $2 ~ /^(lib|zlib)[a-z0-9.+-]*$/ { print $2 }' | sort -u |
      while read -r package; do case " $known " in *" $package "*) ;; *) echo "$package" ;; esac; done | tr '\n' ' ')
    known="$known $new"
  done
  echo "$known"
}

# tool NAME SUITE PACKAGE
tool() {
  local name=$1 into=$folder/$1 program=$folder/$1/root/usr/bin/$3 loader path packages=$3
  [ -x "$folder/bin/$name" ] && return 0
  rm -rf "$into"
  use_suite "$2" || { say "$name: no package list of $2"; return 1; }
  # skopeo is linked with libraries newer than ours, cosign is static.
  [ "$3" = cosign ] || packages="$3 libc6 $(libraries "$3")"
  # shellcheck disable=SC2086 # a list
  unpack "$into" $packages || { say "$name: package $3 of $2 could not be had"; return 1; }
  if [ "$3" = cosign ]; then
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$program" > "$into/start"
  else
    loader=$(find "$into/root" -name 'ld-linux*.so.*' | head -n 1)
    path=$(find "$into/root" -name 'lib*.so.*' -printf '%h\n' | sort -u | tr '\n' ':')
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "${path%:}" "$program" > "$into/start"
  fi
  chmod 755 "$into/start"
  if ! "$into/start" --help >/dev/null 2>&1; then
    say "$name: does not run here"
    return 1
  fi
  mv "$into/start" "$folder/bin/$name"
}

[ -n "$archive" ] || say "no Debian archive in apt's configuration"
for entry in "cosign2 trixie cosign" "cosign3 sid cosign" "skopeo sid skopeo"; do
  # shellcheck disable=SC2086 # three words
  [ -z "$archive" ] && [ ! -x "$folder/bin/${entry%% *}" ] || tool $entry
done
ls "$folder"/bin/* >/dev/null 2>&1
