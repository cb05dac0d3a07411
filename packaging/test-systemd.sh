#!/usr/bin/env bash
# Installs the Debian package in a Debian of its own that was really booted, and tries there what units promise:
# readiness, STATUS=, restart, watchdog, the trigger of a node that starts, hardening, upgrade and removal.
#
#   packaging/test-systemd.sh [--from FOLDER] [--root FOLDER]
#
# Needs root, and debootstrap and systemd-nspawn (apt-get install debootstrap systemd-container). The system is made once
# (target/systemd-root, or --root) and never changed: each run has its changes elsewhere. It has a network of its own
# with nothing but loopback in it. --from has the programs to pack, by default target/debug.
#
# A command of its own and not one of the tests: it boots a system, and makes one from the mirror of Debian first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source packaging/booted.sh

# There is one host, so it need not be named below.
host=redis-dictator
inside() { on "$host" "$@"; }
property() { property_on "$host" "$@"; }
is() { is_on "$host" "$@"; }
status_has() { status_has_on "$host" "$@"; }
ctl() { inside env DICTATORCTL_ETCD=http://127.0.0.1:2379 dictatorctl "$@"; }
master_is() { [ "$(ctl master)" = "127.0.0.1:$1" ]; }
answered_is() { inside dig -p 5300 @127.0.0.1 +short +tries=1 +time=1 master.redis-1.docker SRV | grep -q " $1 "; }
in_order() { ctl status -o json | grep -q '"drift": false'; }
delivered() { inside curl -sf 127.0.0.1:8082/metrics | sed -n 's/^observer_delivered_revision //p'; }

boot "$host" --private-network
# A minimal system knows no names, and what its packages enabled stands in the way of ours.
inside sh -c 'echo "127.0.0.1 localhost" >/etc/hosts; systemctl disable --quiet --now redis-server'
inside systemctl reset-failed
inside systemctl start etcd
passed "a system is up"

inside dpkg --install "/packages/$package" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; fail "the package installs"; }
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

# A cluster of its own, so that the one above is not touched.
inside sh -c "mkdir -p /etc/systemd/system/redis-node@redis-9.service.d && echo REDIS_PORT=6389 >/etc/redis-dictator/node-redis-9.env &&
  cp '$examples/redis-node@.service.d/metadata.conf' /etc/systemd/system/redis-node@redis-9.service.d/"
inside systemctl daemon-reload
inside systemctl enable --quiet --now redis-node@redis-9
is redis-node@redis-9 ActiveState inactive || fail "a host without the mark starts no node"
inside sh -c 'mkdir -p /etc/redis-dictator/hosts && touch /etc/redis-dictator/hosts/redis-9'
inside systemctl start redis-node@redis-9
is redis-node@redis-9 ActiveState active || fail "a host with the mark starts the node"
inside systemctl disable --quiet --now redis-node@redis-9
passed "a node that is enabled everywhere starts on marked hosts only"

inside sh -c 'echo DICTATOR_LISTEN=nonsense >>/etc/redis-dictator/dictator.env'
inside systemctl restart dictator 2>/dev/null && fail "a dictator with wrong settings does not start"
until_true "wrong settings end the dictator" is dictator ActiveState failed
is dictator ExecMainStatus 64 || fail "with the code for wrong settings"
inside sed -i '/nonsense/d' /etc/redis-dictator/dictator.env
inside systemctl restart dictator
passed "wrong settings are not tried again and again"

before=$(property dictator ExecMainPID)
inside dpkg --install "/packages/$package" >/dev/null 2>&1 || fail "the package installs again"
until_true "the dictator was restarted by the upgrade" eval "[ \$(property dictator ExecMainPID) != $before ]"
until_true "the nodes are in order after the upgrade" in_order
inside dpkg --purge redis-dictator >/dev/null 2>&1 || fail "the package is removed"
for daemon in "${daemons[@]}"; do
  inside test ! -e "/var/lib/private/redis-$daemon" || fail "purging forgets what $daemon remembered"
done
inside redis-cli -p 6381 GET colour | grep -q blue || fail "the nodes outlive the package"
passed "an upgrade restarts, and removal leaves the data of the nodes"
