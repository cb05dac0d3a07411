#!/usr/bin/env bash
# Makes an OCI image from nothing but the static programs, without a daemon and without root.
#
#   packaging/image.sh [--from FOLDER] [--out FILE.tar] [--fast]
#
# Without --from it builds for x86_64-unknown-linux-musl first (rustup target add x86_64-unknown-linux-musl, and
# musl-tools). --fast packs loosely, for tests. The result, target/packages/redis-dictator-VERSION.oci.tar unless --out says otherwise, is taken by
# `podman load -i`, `skopeo copy oci-archive:…` and others that know OCI archives.
#
# One image has all four programs; the command says which one runs, by default the dictator. They run as the user
# 65532 and keep their state in /var/lib/redis-<daemon>, where a volume belongs. There is no shell in it and nothing to
# keep patched but our own programs. It is put together by hand because an image is a tar of JSON and a tar: a
# builder would need a daemon or a store to make the same. From the same programs and commit come the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

programs=(dictator dnsd observer dictatorctl)
target=x86_64-unknown-linux-musl
user=65532
from='' out='' compression=9
while [ $# -gt 0 ]; do
  case $1 in
    --from) from=${2:?--from needs a folder}; shift 2 ;;
    --out) out=${2:?--out needs a file}; shift 2 ;;
    --fast) compression=1; shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "image: unknown option $1 (see --help)" >&2; exit 64 ;;
  esac
done
if [ -z "$from" ]; then
  CC_x86_64_unknown_linux_musl=musl-gcc cargo build --release --locked -p ctl -p dictator -p dnsd -p observer --target "$target"
  from=target/$target/release
fi

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
out=${out:-target/packages/redis-dictator-$version.oci.tar}
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)}
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
# The commit, if there is one: where the image comes from.
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
layout=$folder/layout
mkdir -p "$folder/root"/{etc,tmp,usr/bin,var/lib} "$layout/blobs/sha256"

for program in "${programs[@]}"; do
  [ -x "$from/$program" ] || { echo "image: $from/$program is not there" >&2; exit 1; }
  if readelf -lW "$from/$program" | grep -q INTERP; then
    echo "image: $from/$program needs a C library, and there is none in the image; build it for $target" >&2
    exit 1
  fi
  install -m 755 "$from/$program" "$folder/root/usr/bin/$program"
done
echo "dictator:x:$user:$user:redis-dictator:/:/nonexistent" >"$folder/root/etc/passwd"
echo "dictator:x:$user:" >"$folder/root/etc/group"
chmod 644 "$folder"/root/etc/*
chmod 1777 "$folder/root/tmp"
for daemon in dictator dnsd observer; do install -d -m 700 "$folder/root/var/lib/redis-$daemon"; done

# tar_of FOLDER OWNER PATH…: a tar that depends on nothing but its content.
tar_of() {
  local from=$1 owner=$2
  shift 2
  tar --create --format=ustar --sort=name --mtime="@$epoch" --owner="$owner" --group="$owner" --numeric-owner -C "$from" "$@"
}
tar_of "$folder/root" 0 etc tmp usr >"$folder/layer.tar"
tar_of "$folder/root" "$user" var/lib/redis-dictator var/lib/redis-dnsd var/lib/redis-observer >"$folder/state.tar"
tar --concatenate --file="$folder/layer.tar" "$folder/state.tar"

# blob FILE: keeps a file under its digest and prints that.
blob() {
  local digest
  digest=$(sha256sum "$1" | cut -d ' ' -f 1)
  cp "$1" "$layout/blobs/sha256/$digest"
  echo "sha256:$digest"
}
difference=sha256:$(sha256sum "$folder/layer.tar" | cut -d ' ' -f 1)
gzip "-${compression}n" "$folder/layer.tar"
layer=$(blob "$folder/layer.tar.gz")

cat >"$folder/config.json" <<JSON
{
  "created": "$created", "architecture": "amd64", "os": "linux",
  "config": {
    "User": "$user:$user", "Cmd": ["/usr/bin/dictator"], "WorkingDir": "/",
    "Env": ["PATH=/usr/bin"],
    "Volumes": {"/var/lib/redis-dictator": {}, "/var/lib/redis-dnsd": {}, "/var/lib/redis-observer": {}},
    "StopSignal": "SIGTERM",
    "Labels": {
      "org.opencontainers.image.title": "redis-dictator", "org.opencontainers.image.version": "$version",
      "org.opencontainers.image.revision": "$commit", "org.opencontainers.image.licenses": "Apache-2.0"
    }
  },
  "rootfs": {"type": "layers", "diff_ids": ["$difference"]},
  "history": [{"created": "$created", "created_by": "packaging/image.sh"}]
}
JSON
config=$(blob "$folder/config.json")
size() { stat -c %s "$1"; }
cat >"$folder/manifest.json" <<JSON
{
  "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "$config", "size": $(size "$folder/config.json")},
  "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "$layer", "size": $(size "$folder/layer.tar.gz")}]
}
JSON
manifest=$(blob "$folder/manifest.json")
cat >"$layout/index.json" <<JSON
{
  "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
  "manifests": [{
    "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "$manifest", "size": $(size "$folder/manifest.json"),
    "platform": {"architecture": "amd64", "os": "linux"},
    "annotations": {"org.opencontainers.image.ref.name": "redis-dictator:$version"}
  }]
}
JSON
printf '{"imageLayoutVersion": "1.0.0"}' >"$layout/oci-layout"
mkdir -p "$(dirname "$out")"
tar_of "$layout" 0 blobs index.json oci-layout >"$out"
echo "$out"
