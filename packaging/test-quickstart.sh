#!/usr/bin/env bash
# Does in a booted Debian, word for word, what docs/quickstart.md tells: every command of its first four sections.
#
#   packaging/test-quickstart.sh [--from FOLDER] [--root FOLDER]
#
# Needs what packaging/test-systemd.sh needs. Only the installation differs: what apt would fetch is in the system already,
# and the package is installed by dpkg.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source packaging/booted.sh

host=quickstart
boot "$host" --private-network
on "$host" sh -c 'echo "127.0.0.1 localhost" >/etc/hosts; systemctl reset-failed'
on "$host" dpkg --install "/packages/$package" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; fail "the package installs"; }
# The commands of the page, without those of its last section, which are for other hosts.
awk '/^## 5/ { exit } /^```sh/ { inside = 1; next } /^```/ { inside = 0 } inside' docs/quickstart.md |
  grep -v '^apt install' >"$folder/packages/quickstart"
[ "$(wc -l <"$folder/packages/quickstart")" -gt 10 ] || fail "the page has commands"
# As somebody types them: one after the other, with a breath between them, and on after a plan that tells of changes.
on "$host" bash -c 'cd /root; set -o functrace; trap "sleep 0.5" DEBUG; . /packages/quickstart' \
  >"$folder/said" 2>&1 || { cat "$folder/said" >&2; fail "the commands of the page can be followed"; }
if grep -q "command not found" "$folder/said"; then cat "$folder/said" >&2; fail "every command of the page is there"; fi
said() { grep -q "$1" "$folder/said" || { cat "$folder/said" >&2; fail "the page leads to: $2"; }; }
said "^established" "a first master"
said "^as wanted: master 127.0.0.1:6380" "a status that is as wanted"
said "10 100 6380 master.redis-1.docker" "DNS that names the master"
said "^switched" "a master that moves"
said "^blue" "data that moved along"
passed "the quick start leads where it says"
