#!/usr/bin/env bash
# Installs the Debian package in a Debian of its own that was really booted, and tries there what units promise:
# readiness, STATUS=, restart, watchdog, the trigger of a node that starts, hardening, upgrade and removal.
#
#   packaging/test-systemd.sh [--from FOLDER] [--root FOLDER]
#
# Needs root, and debootstrap and systemd-nspawn (apt-get install debootstrap systemd-container). The system is made once
# (target/systemd-root, or --root) and never changed: each run boots it with its changes in memory. It has a network
# of its own with nothing but loopback in it. --from has the programs to pack, by default target/debug.
#
# A command of its own and not one of the tests: it boots a system, and makes one from the mirror of Debian first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

from=target/debug system=target/systemd-root
while [ $# -gt 0 ]; do
  case $1 in
    --from) from=${2:?--from needs a folder}; shift 2 ;;
    --root) system=${2:?--root needs a folder}; shift 2 ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "test-systemd: unknown option $1 (see --help)" >&2; exit 64 ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo "test-systemd: booting a system needs root" >&2; exit 1; }
for tool in debootstrap systemd-nspawn nsenter; do
  command -v "$tool" >/dev/null || { echo "test-systemd: $tool is missing: apt-get install debootstrap systemd-container" >&2; exit 1; }
done

# Longest wait for anything that should come true, in seconds.
wait_max_s=40
# What the system is made of.
packages=systemd,systemd-sysv,dbus,iproute2,redis-server,etcd-server,etcd-client,procps,curl,bind9-dnsutils
daemons=(dictator dnsd observer)
leader='' nspawn=''
folder=$(mktemp -d)

clean_up() {
  local status=$?
  trap - EXIT
  if [ "$status" != 0 ] && [ -n "$leader" ]; then
    inside journalctl --no-pager -o short-precise -n 60 -u dictator -u dnsd -u observer -u 'redis-node@*' >&2 || :
  fi
  # The way to ask the first process of a container for its end.
  [ -z "$leader" ] || kill -s RTMIN+4 "$leader" 2>/dev/null || :
  [ -z "$nspawn" ] || { timeout 30 tail --pid="$nspawn" -f /dev/null || kill "$nspawn" 2>/dev/null || :; }
  rm -rf "$folder"
  exit "$status"
}
trap clean_up EXIT

inside() { nsenter --target "$leader" --all --root "$@"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
passed() { echo "passed: $*"; }
property() { inside systemctl show --property "$2" --value "$1"; }
# until_true WHAT COMMAND…: waits until the command succeeds.
until_true() {
  local what=$1 end=$((SECONDS + wait_max_s))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "$what, not within $wait_max_s s"
    sleep 0.2
  done
}
is() { [ "$(property "$1" "$2")" = "$3" ]; }
# What fails in a minimal system (etcd without names) is started again below.
is_up() { case $(inside systemctl is-system-running) in running | degraded) ;; *) return 1 ;; esac; }
status_has() { property "$1" StatusText | grep -q "$2"; }
ctl() { inside env DICTATORCTL_ETCD=http://127.0.0.1:2379 dictatorctl "$@"; }
master_is() { [ "$(ctl master)" = "127.0.0.1:$1" ]; }
answered_is() { inside dig -p 5300 @127.0.0.1 +short +tries=1 +time=1 master.redis-1.docker SRV | grep -q " $1 "; }
in_order() { ctl status -o json | grep -q '"drift": false'; }
delivered() { inside curl -sf 127.0.0.1:8082/metrics | sed -n 's/^observer_delivered_revision //p'; }

if [ ! -e "$system/etc/debian_version" ]; then
  debootstrap --variant=minbase --include="$packages" "${DEBIAN_SUITE:-bookworm}" "$system" >"$folder/debootstrap.log" ||
    { tail -n 5 "$folder/debootstrap.log" >&2; fail "the system cannot be made"; }
fi
package=$(packaging/deb.sh --fast --from "$from" --out "$folder/packages")
chmod 755 "$folder" "$folder/packages"
systemd-nspawn --quiet --boot --directory="$system" --machine="dictator-test-$$" --register=no --keep-unit --private-network \
  --volatile=overlay --bind-ro="$folder/packages:/packages" </dev/null >"$folder/console" 2>&1 &
nspawn=$!
until_true "the container has a first process" pgrep -P "$nspawn"
leader=$(pgrep -P "$nspawn" | head -n 1)
until_true "the system is up" is_up
# A minimal system knows no names, and what its packages enabled stands in the way of ours.
inside sh -c 'echo "127.0.0.1 localhost" >/etc/hosts; systemctl disable --quiet --now redis-server'
inside systemctl reset-failed
inside systemctl start etcd
passed "a system is up"

inside dpkg --install "/packages/${package##*/}" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; fail "the package installs"; }
for daemon in "${daemons[@]}"; do is "$daemon" UnitFileState disabled || fail "$daemon is enabled by its installation"; done
passed "the package installs, and starts nothing"

# The first node is one of the cluster redis-1; the others only have their place on this host.
nodes=(redis-1 core-02 core-03)
for index in 0 1 2; do inside sh -c "echo REDIS_PORT=$((6380 + index)) >/etc/redis-dictator/node-${nodes[index]}.env"; done
inside systemctl enable --quiet --now redis-node@redis-1 redis-node@core-02 redis-node@core-03 "${daemons[@]}"
for unit in "${daemons[@]}" redis-node@redis-1 redis-node@core-02 redis-node@core-03; do
  is "$unit" ActiveState active || fail "$unit is active when systemctl returns"
  [ "$(property "$unit" StatusText)" != "" ] || fail "$unit has a STATUS"
done
passed "daemons and nodes are ready when systemctl says so"

inside sh -c 'cat >/tmp/topology.json' <<'JSON'
{"master": {"address": "127.0.0.1", "port": 6380},
 "slaves": [{"address": "127.0.0.1", "port": 6381}, {"address": "127.0.0.1", "port": 6382}]}
JSON
ctl define /tmp/topology.json >/dev/null
ctl trigger --wait >/dev/null
master_is 6380 || fail "the first node is the master"
until_true "the nodes are in order" in_order
until_true "DNS names the first node" answered_is 6380
ctl redis-cli -- SET colour blue >/dev/null
until_true "the dictator's STATUS names the master" status_has dictator 127.0.0.1:6380
passed "a document comes into force, in redis and in DNS: $(property dictator StatusText)"

ctl switch 127.0.0.1:6381 >/dev/null
master_is 6381 || fail "the second node is the master"
until_true "DNS names the second node" answered_is 6381
[ "$(ctl redis-cli -- GET colour)" = blue ] || fail "the data moved along"
passed "the master moves"

for daemon in "${daemons[@]}"; do
  before=$(property "$daemon" NRestarts)
  inside systemctl kill --kill-whom=main --signal=KILL "$daemon"
  until_true "$daemon is started again" eval "[ \$(property $daemon NRestarts) -gt $before ]"
  until_true "$daemon is active again" is "$daemon" ActiveState active
done
until_true "the nodes are in order after the daemons' restarts" in_order
until_true "DNS answers after the daemons' restarts" answered_is 6381
passed "a killed daemon is back, and remembers"

for daemon in "${daemons[@]}"; do
  inside sh -c "mkdir -p /run/systemd/system/$daemon.service.d && printf '[Service]\nWatchdogSec=3s\n' >/run/systemd/system/$daemon.service.d/short.conf"
  inside systemctl daemon-reload
  inside systemctl restart "$daemon"
  before=$(property "$daemon" NRestarts)
  inside systemctl kill --kill-whom=main --signal=STOP "$daemon"
  until_true "the watchdog ends $daemon" eval "[ \$(property $daemon NRestarts) -gt $before ]"
  until_true "$daemon is active after its watchdog" is "$daemon" ActiveState active
  inside journalctl --no-pager -u "$daemon" | grep -q "Watchdog timeout" || fail "$daemon was ended by its watchdog"
done
passed "a daemon that hangs is ended by its watchdog"

for index in 0 1 2; do
  unit=redis-node@${nodes[index]}
  before=$(property "$unit" NRestarts)
  seen=$(delivered)
  inside systemctl kill --kill-whom=main --signal=KILL "$unit"
  until_true "$unit is started again" eval "[ \$(property $unit NRestarts) -gt $before ]"
  until_true "the nodes are in order after $unit's restart" in_order
  until_true "the second node is the master" master_is 6381
  if [ "$index" = 0 ]; then
    until_true "the node's start is delivered as a trigger" eval "[ \$(delivered) -gt ${seen%.*} ]"
  fi
done
[ "$(ctl redis-cli -- GET colour)" = blue ] || fail "the data outlived the nodes' restarts"
passed "a killed node is back in its place, and its start is a trigger"

for daemon in "${daemons[@]}"; do
  exposure=$(inside systemd-analyze security --no-pager "$daemon" | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p')
  awk -v exposure="$exposure" 'BEGIN { exit !(exposure != "" && exposure <= 2.0) }' || fail "$daemon is exposed: $exposure"
done
passed "systemd finds the daemons closed: $exposure at most 2.0"

inside groupadd --system redis-dictator
inside sh -c 'mkdir -p /etc/systemd/system/dictator.service.d && printf "[Service]\nSupplementaryGroups=redis-dictator\n" >/etc/systemd/system/dictator.service.d/group.conf'
# new_token NAME: a token, whose line becomes all that is in the file.
new_token() {
  local said
  said=$(ctl token new --name "$1" --role viewer 2>&1)
  inside sh -c 'cat >/etc/redis-dictator/tokens; chgrp redis-dictator /etc/redis-dictator/tokens; chmod 640 /etc/redis-dictator/tokens' \
    <<<"$(grep 'sha256:' <<<"$said")"
  grep -v 'sha256:' <<<"$said" | grep -oE '[A-Za-z0-9_-]{40,}' | head -n 1
}
answers() { [ "$(inside curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $2" 127.0.0.1:8080/status)" = "$1" ]; }
first=$(new_token alice)
inside sh -c 'echo DICTATOR_TOKENS_FILE=/etc/redis-dictator/tokens >>/etc/redis-dictator/dictator.env'
inside systemctl daemon-reload
inside systemctl restart dictator
until_true "a token is asked for" answers 200 "$first"
answers 401 nonsense || fail "another token is refused"
running=$(property dictator ExecMainPID)
second=$(new_token bob)
inside systemctl reload dictator
until_true "the new token counts after a reload" answers 200 "$second"
answers 401 "$first" || fail "the old token counts no more"
is dictator ExecMainPID "$running" || fail "a reload is no restart"
inside sed -i '/TOKENS/d' /etc/redis-dictator/dictator.env
inside systemctl restart dictator
passed "tokens change by systemctl reload"

examples=/usr/share/doc/redis-dictator/examples
inside sh -c "mkdir -p /etc/systemd/system/dnsd.service.d && cp $examples/dnsd.service.d/port-53.conf /etc/systemd/system/dnsd.service.d/"
inside systemctl daemon-reload
inside systemctl restart dnsd
until_true "DNS is answered on port 53" eval 'inside dig @127.0.0.1 +short +tries=1 +time=1 master.redis-1.docker SRV | grep -q " 6381 "'
[ "$(inside sh -c 'grep CapEff "/proc/$(systemctl show -p MainPID --value dnsd)/status"')" = "$(printf 'CapEff:\t0000000000000400')" ] ||
  fail "dnsd has one capability and no other"
passed "dnsd answers on port 53 with the one capability that this takes"

inside sh -c 'echo DICTATOR_LISTEN=nonsense >>/etc/redis-dictator/dictator.env'
inside systemctl restart dictator 2>/dev/null && fail "a dictator with wrong settings does not start"
until_true "wrong settings end the dictator" is dictator ActiveState failed
is dictator ExecMainStatus 64 || fail "with the code for wrong settings"
inside sed -i '/nonsense/d' /etc/redis-dictator/dictator.env
inside systemctl restart dictator
passed "wrong settings are not tried again and again"

before=$(property dictator ExecMainPID)
inside dpkg --install "/packages/${package##*/}" >/dev/null 2>&1 || fail "the package installs again"
until_true "the dictator was restarted by the upgrade" eval "[ \$(property dictator ExecMainPID) != $before ]"
until_true "the nodes are in order after the upgrade" in_order
inside dpkg --purge redis-dictator >/dev/null 2>&1 || fail "the package is removed"
for daemon in "${daemons[@]}"; do
  inside test ! -e "/var/lib/private/redis-$daemon" || fail "purging forgets what $daemon remembered"
done
inside redis-cli -p 6381 GET colour | grep -q blue || fail "the nodes outlive the package"
passed "an upgrade restarts, and removal leaves the data of the nodes"
