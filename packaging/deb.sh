#!/usr/bin/env bash
# Makes the Debian package: daemons, dictatorctl, units, manual pages, completions, default files, documents.
#
#   packaging/deb.sh [--from FOLDER] [--out FOLDER] [--fast]
#
# Without --from it builds in release mode first. --from takes finished programs, such as those of
# target/x86_64-unknown-linux-musl/release; --fast leaves the package uncompressed, for tests. The result lies in
# target/packages unless --out says otherwise.
#
# dpkg-deb by hand and not cargo-deb: it is on every Debian, so that nothing has to be compiled before a package
# can be; what the package holds is read here from top to bottom; and from the same programs and commit come
# the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

programs=(dictator dnsd observer dictatorctl)
from='' out=target/packages compression=xz
while [ $# -gt 0 ]; do
  case $1 in
    --from) from=${2:?--from needs a folder}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    --fast) compression=none; shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "deb: unknown option $1 (see --help)" >&2; exit 64 ;;
  esac
done
for tool in dpkg-deb strip readelf gzip; do
  command -v "$tool" >/dev/null || { echo "deb: $tool is missing: apt-get install dpkg binutils gzip" >&2; exit 1; }
done
if [ -z "$from" ]; then
  cargo build --release --locked -p ctl -p dictator -p dnsd -p observer
  from=target/release
fi

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
# The time of everything in the package: that of the commit, so that it can be built again.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
documents=$root/usr/share/doc/redis-dictator

# put MODE FILE TARGET: copies a file to a place in the package, with its folders.
put() { install -D -m "$1" "$2" "$root/$3"; }

# Programs, and what they need of the C library.
libc=''
for program in "${programs[@]}"; do
  [ -x "$from/$program" ] || { echo "deb: $from/$program is not there" >&2; exit 1; }
  put 755 "$from/$program" "usr/bin/$program"
  strip --strip-unneeded "$root/usr/bin/$program"
  if readelf -lW "$root/usr/bin/$program" | grep -q INTERP; then
    needs=$(readelf -VW "$root/usr/bin/$program" | grep -o 'GLIBC_[0-9.]*' | cut -d _ -f 2)
    libc=$(printf '%s\n' $libc $needs | sort -V | tail -n 1)
  fi
done
depends=''
[ -z "$libc" ] || depends="libc6 (>= $libc), libgcc-s1 (>= 4.2)"

# Units, in the place where Debian 12 and later look, and what else the documents tell to copy.
for unit in units/*.service; do put 644 "$unit" "lib/systemd/system/${unit##*/}"; done
put 644 units/redis.conf etc/redis-dictator/redis.conf
for daemon in dictator dnsd observer; do put 640 "packaging/debian/$daemon.env" "etc/redis-dictator/$daemon.env"; done
(cd units && find . -path './*.d/*' -type f) | while read -r file; do
  put 644 "units/$file" "usr/share/doc/redis-dictator/examples/${file#./}"
done
put 644 examples/topology.json usr/share/doc/redis-dictator/examples/topology.json
for file in packaging/prometheus/*.yml; do put 644 "$file" "usr/share/redis-dictator/prometheus/${file##*/}"; done

# Manual pages: those of dictatorctl are made by itself, those of the daemons are their --help.
ctl=$(realpath "$from")/dictatorctl
mkdir -p "$root/usr/share/man/man1" "$root/usr/share/man/man8"
"$ctl" man --folder "$root/usr/share/man/man1"
for daemon in dictator dnsd observer; do
  help=$("$from/$daemon" --help)
  {
    printf '.TH %s 8 "" "redis-dictator %s"\n.SH NAME\n%s \\- %s\n' "${daemon^^}" "$version" "$daemon" "$(head -n 1 <<<"$help")"
    printf '.SH SYNOPSIS\n.B %s\n[OPTIONS]\n.SH OPTIONS\n.nf\n' "$daemon"
    sed '1,/^Options:/d;s/\\/\\\\/g;s/-/\\-/g;s/^\([.'"'"']\)/\\\&\1/' <<<"$help"
    printf '.fi\n.SH FILES\n/etc/redis\\-dictator/%s.env\n.SH "SEE ALSO"\n.BR dictatorctl (1),\nfile:///usr/share/doc/redis\\-dictator/settings.md\n' "$daemon"
  } >"$root/usr/share/man/man8/$daemon.8"
done
gzip -9n "$root"/usr/share/man/man*/*

# Completions.
completion() { mkdir -p "$root/$(dirname "$2")" && "$ctl" completion "$1" >"$root/$2"; }
completion bash usr/share/bash-completion/completions/dictatorctl
completion zsh usr/share/zsh/vendor-completions/_dictatorctl
completion fish usr/share/fish/vendor_completions.d/dictatorctl.fish

# Documents.
for file in docs/*.md README.md; do put 644 "$file" "usr/share/doc/redis-dictator/${file##*/}"; done
put 644 packaging/debian/copyright usr/share/doc/redis-dictator/copyright
{
  printf 'redis-dictator (%s) unstable; urgency=medium\n\n' "$version"
  printf '  * See CHANGELOG.md.gz.\n\n -- redis-dictator maintainers <maintainers@redis-dictator.invalid>  %s\n' "$(date -u -R -d "@$epoch")"
} | gzip -9n >"$documents/changelog.gz"
gzip -9nc CHANGELOG.md >"$documents/CHANGELOG.md.gz"

# What dpkg wants to know.
put 644 packaging/debian/overrides usr/share/lintian/overrides/redis-dictator
mkdir "$root/DEBIAN"
for script in postinst prerm postrm; do put 755 "packaging/debian/$script" "DEBIAN/$script"; done
(cd "$root" && find etc -type f | sort | sed 's|^|/|') >"$root/DEBIAN/conffiles"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) | grep -v '  etc/' >"$root/DEBIAN/md5sums"
size_kib=$(du -sk --exclude=DEBIAN "$root" | cut -f 1)
{
  printf 'Package: redis-dictator\nVersion: %s\nArchitecture: %s\n' "$version" "$architecture"
  printf 'Maintainer: redis-dictator maintainers <maintainers@redis-dictator.invalid>\nSection: database\nPriority: optional\n'
  printf 'Installed-Size: %s\n' "$size_kib"
  [ -z "$depends" ] || printf 'Depends: %s\n' "$depends"
  printf 'Suggests: redis-server, redis-tools, etcd-client, prometheus\n'
  printf 'Description: moves a redis master without losing a write\n'
  printf ' Three daemons and a tool for operators. The dictator moves the redis master\n'
  printf ' to the node that a document names, without losing one acknowledged write.\n'
  printf ' dnsd publishes it by DNS. The observer carries the document from etcd to both.\n'
  printf ' .\n No daemon is enabled by the installation: which of them run on a host is\n the decision of its operator.\n'
} >"$root/DEBIAN/control"

chmod 755 "$root"
find "$root" -type d -exec chmod 755 {} +
find "$root" -exec touch -h -d "@$epoch" {} +
mkdir -p "$out"
package=$out/redis-dictator_${version}_$architecture.deb
SOURCE_DATE_EPOCH=$epoch dpkg-deb --root-owner-group -Z"$compression" --build "$root" "$package" >/dev/null
echo "$package"
