#!/bin/bash
# corpus.sh FOLDER: real-looking OCI layouts in FOLDER/corpus/oci/NAME-{gz,zst}, made of Debian's packages: small (busybox), web (8 layers, one
# of many small files, whiteouts, odd metadata), shared (web with another last layer), ml (6 layers, one big). Needs 8 GB and root; kept for
# later runs.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: corpus.sh FOLDER" >&2; exit 2; }
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=1735689600
here=$(dirname "$(readlink -f "$0")")
work=$(readlink -f "$1")/corpus
mkdir -p "$work/layers" "$work/lists/partial" "$work/archives/partial"
cd "$work"

# The release and the archive that this machine's apt uses already.
code=$(. /etc/os-release; echo "$VERSION_CODENAME")
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  grep -E " $code(-updates|-security)? main\$" | sort -u > sources.list
echo "corpus: base" >&2
[ -d layers/base ] || {
  mmdebstrap --quiet --variant=minbase --mode=root "$code" base.new sources.list
  rm -rf base.new/var/cache/apt/* base.new/var/lib/apt/lists/* base.new/etc/resolv.conf
  mv base.new layers/base
}

apt() {
  apt-get -qq -y -o Dir::State::status="$work/layers/base/var/lib/dpkg/status" -o Dir::Etc::sourcelist="$work/sources.list" \
    -o Dir::Etc::sourceparts=/nonexistent -o Dir::State::lists="$work/lists" -o Dir::Cache::archives="$work/archives" \
    -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"
}
[ -e lists/ready ] || { apt update; touch lists/ready; }

packages() { # LAYER PACKAGE…: what these need and no earlier layer of the image ($seen) has, unpacked
  local layer=$1 deb; shift
  echo "corpus: $layer" >&2
  rm -f archives/*.deb
  apt install -d --no-install-recommends "$@"
  mkdir -p "layers/$layer"
  for deb in archives/*.deb; do
    grep -qxF "${deb##*/}" "$seen" && continue
    echo "${deb##*/}" >> "$seen"
    dpkg -x "$deb" "layers/$layer"
  done
  for name in bin sbin lib lib64; do # /bin and its like are links in the base
    [ -d "layers/$layer/$name" ] || continue
    mkdir -p "layers/$layer/usr/$name"
    cp -a "layers/$layer/$name/." "layers/$layer/usr/$name/"
    rm -rf "layers/${layer:?}/$name"
  done
}

whiteouts() {
  local root=layers/web5
  mkdir -p $root/usr/share/{doc/app,man,locale} $root/etc/nginx $root/srv/app
  touch $root/usr/share/{doc,man,locale}/.wh..wh..opq $root/usr/share/.wh.perl5
  echo kept > $root/usr/share/doc/app/README
  echo "worker_processes 2;" > $root/etc/nginx/nginx.conf
}

odd() {
  local root=layers/web6/opt/odd
  mkdir -p $root/{sub,sticky}
  setcap cap_net_raw+ep layers/web6/usr/bin/ping
  head -c 200000 /bin/bash > $root/linked
  for i in 1 2 3 4; do ln $root/linked $root/sub/linked$i; done
  echo x > $root/setuid; chmod 4755 $root/setuid; chmod 1777 $root/sticky
  echo x > $root/noted; setfattr -n user.note -v hello $root/noted; touch -d @946684800.123456789 $root/noted
  mknod $root/null c 1 3; mkfifo $root/fifo; chown 12345:54321 $root/sub
  ln -s nowhere $root/dangling; ln -s /etc/passwd $root/absolute
}

model() { # blobs like a model's: floats, small integers, noise, zeros
  mkdir -p layers/ml4/opt/model
  /usr/bin/python3 - layers/ml4/opt/model <<'P'
import random, sys
def write(name, megabytes, make):
    noise = random.Random(name)
    with open(f"{sys.argv[1]}/{name}", "wb") as out:
        for _ in range(megabytes):
            out.write(make(noise))
def floats(noise):
    block = bytearray(noise.randbytes(1 << 20))
    block[3::4] = bytes(0x3C | (byte & 1) << 7 for byte in noise.randbytes(1 << 18))
    return block
for i in range(4):
    write(f"shard{i}.bin", 40, floats)
write("quantized.bin", 80, lambda noise: bytes(byte & 15 for byte in noise.randbytes(1 << 20)))
write("embedding.bin", 60, lambda noise: noise.randbytes(1 << 20))
write("padding.bin", 20, lambda noise: bytes(1 << 20))
P
}

small() {
  mkdir -p layers/small/{bin,etc,tmp}
  cp /bin/busybox layers/small/bin/busybox
  for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln layers/small/bin/busybox "layers/small/bin/$name"; done
}

app() { # LAYER FILES
  mkdir -p "layers/$1/srv/app/lib"
  for i in $(seq "$2"); do echo "exports.number = $i" > "layers/$1/srv/app/lib/module$i.js"; done
  chown -R 1000:1000 "layers/$1/srv/app"
}

if [ ! -e layers/ready ]; then
  seen=$work/seen; : > "$seen"
  packages web1 perl openssl netbase
  packages web2 nginx libnginx-mod-http-image-filter
  packages web3 nodejs
  packages web4 webpack eslint node-babel7 node-typescript node-core-js node-lodash node-d3 jest npm
  whiteouts
  packages web6 iputils-ping sudo; odd
  app web7 1; app shared7 200
  : > "$seen"
  packages ml1 python3 python3-pip
  packages ml2 python3-numpy python3-scipy python3-pandas
  packages ml3 python3-sklearn
  packages ml4 libtorch1.13 libllvm14; model
  mkdir -p layers/ml5/opt/model; touch layers/ml5/opt/model/.wh.padding.bin
  small
  touch layers/ready
fi

mkdir -p tar
for root in layers/*/; do
  name=$(basename "$root")
  [ -e "tar/$name.zst" ] && continue
  echo "corpus: compressing $name" >&2
  tar --format=pax --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --sort=name --xattrs --xattrs-include='*' \
    --numeric-owner --mtime=@$SOURCE_DATE_EPOCH --clamp-mtime -C "$root" -cf "tar/$name.tar" .
  pigz -n -6 < "tar/$name.tar" > "tar/$name.gz"
  zstd -q -3 -T0 --no-progress < "tar/$name.tar" > "tar/$name.zst.new"
  mv "tar/$name.zst.new" "tar/$name.zst"
done
image() { /usr/bin/python3 "$here/layout.py" tar "oci/$1" "${@:2}"; }
for form in gz zst; do
  image small-$form small
  image web-$form base web1 web2 web3 web4 web5 web6 web7
  image shared-$form base web1 web2 web3 web4 web5 web6 shared7
  image ml-$form base ml1 ml2 ml3 ml4 ml5
done
rm -rf layers tar archives base.new
