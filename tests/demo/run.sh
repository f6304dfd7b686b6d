#!/bin/bash
# What "make run" does: really signed images, from a registry started here on loopback, become mounted root filesystems; images
# that the policy does not allow do not. Every step is checked; everything is removed at the end, however it ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
pull=${BUILD:-$PWD/build}/bin/guest-pull
demo=$PWD/tests/demo
lib=$PWD/tests/lib
[ "$(id -u)" = 0 ] || { echo "run.sh: mounting needs root" >&2; exit 1; }
[ -x "$pull" ] || { echo "run.sh: no $pull: run \"make\" first" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/var/tmp}/guest-pull-demo.XXXXXX")
export GNUPGHOME=$work/gnupg
registry_pid=
container=guest-pull-demo-$$
failed=1

clean_up() {
  set +e
  crun delete -f "$container" >/dev/null 2>&1
  local point
  for point in "$work"/*-bundle; do "$pull" --quiet umount "$point" >/dev/null 2>&1; done
  for point in $(findmnt -rno TARGET | grep "^$work/" | sort -r); do umount -l "$point"; done
  [ -z "$registry_pid" ] || { kill "$registry_pid"; wait "$registry_pid"; } 2>/dev/null
  gpgconf --kill all >/dev/null 2>&1
  findmnt -rno TARGET | grep -q "^$work/" || rm -rf --one-file-system "$work"
  [ "$failed" = 0 ] || echo "run.sh: FAILED" >&2
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold= plain=; fi
heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
line() { printf '   %s\n' "$*"; }
fail() { printf 'run.sh: %s\n' "$*" >&2; exit 1; }
# Digests as people read them.
short() { sed -E 's/(sha256:[0-9a-f]{12})[0-9a-f]{52}/\1…/g'; }
used() { df --output=used -k "$1" | tail -n 1 | tr -d ' '; }

# ---- what the demonstration needs
heading "A registry on loopback, two images from Debian packages, two keys"
mkdir -m 0700 "$GNUPGHOME" "$work/debs" "$work/data"
download() {
  (cd "$work/debs" && apt-get -qq -o APT::Sandbox::User=root download base-files base-passwd busybox-static netbase) >/dev/null 2>&1
}
download || { apt-get -qq update >/dev/null 2>&1; download; } || fail "the Debian packages of the images cannot be downloaded"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
host=127.0.0.1:$port
cat > "$work/registry.yml" <<YAML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $work/data}, maintenance: {uploadpurging: {enabled: false}}}
http: {addr: $host}
YAML
docker-registry serve "$work/registry.yml" > "$work/registry.log" 2>&1 &
registry_pid=$!
for _ in $(seq 100); do
  ! (: > "/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  kill -0 "$registry_pid" 2>/dev/null || { cat "$work/registry.log" >&2; fail "docker-registry does not start"; }
  sleep 0.05
done

make_key() { # NAME: its fingerprint
  gpg --batch --quiet --passphrase '' --quick-generate-key "$1 <$1@example.invalid>" rsa2048 sign never 2>/dev/null
  gpg --batch --quiet --no-auto-check-trustdb --with-colons --list-keys "$1@" | awk -F: '$1 == "fpr" { print $10; exit }'
}
vendor=$(make_key vendor)
stranger=$(make_key stranger)
gpg --batch --export "$vendor" > "$work/vendor.gpg"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/cosign.key" 2>/dev/null
openssl pkey -in "$work/cosign.key" -pubout -out "$work/cosign.pub"

python3 "$demo/mkimage.py" "$work/layout" "$work"/debs/*.deb > "$work/images"
digest() { awk -v tag="$1" '$1 == tag { print $2 }' "$work/images"; }
mkdir "$work/registries.d"
printf 'default-docker: {lookaside: "file://%s", lookaside-staging: "file://%s"}\n' "$work/signatures" "$work/signatures" \
  > "$work/registries.d/demo.yaml"
push() { # TAG REPOSITORY [OPTION…]
  local tag=$1 repository=$2
  shift 2
  skopeo --insecure-policy --registries.d "$work/registries.d" copy --quiet --dest-tls-verify=false "$@" "oci:$work/layout:$tag" \
    "docker://$host/$repository:1" >/dev/null
}
push app signed/app --sign-by "$vendor"
push app signed/wrong --sign-by "$stranger"
push app signed/unsigned
push tool cosign/tool
python3 "$lib/cosign_sign.py" "$work/cosign.key" "$host/cosign/tool@$(digest tool)" >/dev/null
while read -r tag hash layers; do line "$tag: $layers layers, $hash"; done < "$work/images" | short
line "demo/app is signed with GPG key $vendor, demo/tool in cosign's format with an EC key"

cat > "$work/policy.json" <<JSON
{"default": [{"type": "reject"}],
 "transports": {"docker": {
   "$host/signed": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "$work/vendor.gpg"}],
   "$host/cosign": [{"type": "sigstoreSigned", "keyPath": "$work/cosign.pub", "signedIdentity": {"type": "matchRepository"}}]}}}
JSON
options=(--quiet --json --policy "$work/policy.json" --registries-d "$work/registries.d" --plain-http "$host"
  --store "$work/store" --allow-unencrypted-store --rw-size 64M)
# run_pull NAME BUNDLE: its report to $work/report.json, its exit status as result
run_pull() {
  mkdir -p "$2"
  "$pull" "${options[@]}" pull "$host/$1" --bundle "$2" > "$work/report.json" 2> "$work/errors"
}
pull_signed() { # NAME TAG
  local bundle=$work/${2}-bundle report=$work/report.json
  heading "guest-pull pull $host/$1"
  run_pull "$1" "$bundle" || { cat "$report" "$work/errors" >&2; fail "$1 was not pulled"; }
  [ "$(jq -r .manifestDigest "$report")" = "$(digest "$2")" ] || fail "$1: another digest than was pushed"
  jq -e '.verdict.requirements | length > 0 and all(.accepted)' "$report" >/dev/null || fail "$1: the verdict accepts nothing"
  line "manifest $(jq -r .manifestDigest "$report" | short), $(jq '.layers | length' "$report") layers," \
    "$(jq '[.layers[] | select(.reused)] | length' "$report") of them in the store already"
  line "scope    $(jq -r '.verdict.scope' "$report")"
  jq -r '.verdict.requirements[] | "\(.type): accepted, signed by \(.by)"' "$report" | short | while read -r text; do line "verdict  $text"; done
  [ "$(findmnt -rno TARGET | grep -c "^$bundle/")" = 1 ] || fail "$1: not exactly one mount"
  [ "$(findmnt -no FSTYPE "$bundle/rootfs")" = overlay ] || fail "$1: no overlay at rootfs"
  line "mount    $(findmnt -rno TARGET,FSTYPE,OPTIONS "$bundle/rootfs" | sed -E "s#$work/##g; s#,lowerdir.*##")"
}

# crun refuses a machine whose cgroups are half v1 and half v2, with controllers in both (some VMs' own init makes that): there it
# runs without the v2 half, in a mount namespace of its own.
run_container() { # BUNDLE
  local unified=/sys/fs/cgroup/unified
  if [ -n "$(cat $unified/cgroup.controllers 2>/dev/null)" ]; then
    unshare --mount sh -c "umount $unified; exec crun run --bundle \"\$1\" \"\$2\"" sh "$1" "$container"
  else
    crun run --bundle "$1" "$container"
  fi
}

# ---- the GPG-signed image, run
pull_signed signed/app:1 app
app=$work/app-bundle
heading "crun run: the container writes to memory, not to the store"
touch "$work/marker"
before=$(used "$app/rootfs")
run_container "$app" > "$work/output" 2>&1 || { cat "$work/output" >&2; fail "crun run"; }
while read -r text; do line "$text"; done < "$work/output"
grep -q '^hello from demo/app, user demo' "$work/output" || fail "the container did not say hello as its user"
grep -q '^setuid program: -rwsr-xr-x 0:0' "$work/output" || fail "the setuid bit is lost"
grep -q 'deleted by a whiteout' "$work/output" || fail "the whiteout does not hide"
after=$(used "$app/rootfs")
[ $((after - before)) -ge 3072 ] || fail "the tmpfs did not grow"
line "tmpfs upper: $before KiB used before, $after KiB after"
touched=$(find "$work/store" -cnewer "$work/marker" | wc -l)
[ "$touched" = 0 ] || fail "$touched files of the store changed"
line "store: 0 of $(find "$work/store" | wc -l) files changed"
"$pull" "${options[@]}" fsck > "$work/fsck" 2>&1 || { cat "$work/fsck" >&2; fail "fsck finds the store damaged"; }
line "guest-pull fsck: every byte that is mounted is as committed"

# ---- the cosign-signed image shares all layers but one
pull_signed cosign/tool:1 tool
[ "$(jq '[.layers[] | select(.reused)] | length' "$work/report.json")" -ge 5 ] || fail "shared layers were not reused"

# ---- what must not work
refused() { # NAME STATUS WHY
  local status=0
  heading "refused: $3"
  run_pull "$1" "$work/refused" || status=$?
  [ "$status" = "$2" ] || { cat "$work/report.json" "$work/errors" >&2; fail "$1: exit status $status instead of $2"; }
  [ ! -e "$work/refused/rootfs" ] || fail "$1 was refused, and yet rootfs is there"
  line "exit status $status ($(jq -r .error.code "$work/report.json")): $(jq -r .error.message "$work/report.json" | head -n 1 | short)"
}
refused signed/unsigned:1 4 "the same image without a signature"
refused signed/wrong:1 4 "the same image signed by somebody else"
refused other/app:1 3 "a name that no scope of the policy covers"

heading "guest-pull umount"
for bundle in "$app" "$work/tool-bundle"; do
  "$pull" "${options[@]}" umount "$bundle" > "$work/output" 2>&1 || { cat "$work/output" >&2; fail "umount"; }
  [ ! -e "$bundle/rootfs" ] || fail "rootfs is still there"
done
line "both root filesystems are gone, and what the container wrote with them"
failed=0
