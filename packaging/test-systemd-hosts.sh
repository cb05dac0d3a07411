#!/usr/bin/env bash
# Three hosts from one system, set up as docs/units.md says, each with a redis node, a member of etcd and all three
# daemons: the master moves, hosts are lost as in a power failure and boot again, and all goes on by itself.
#
#   packaging/test-systemd-hosts.sh [--from FOLDER] [--root FOLDER]
#
# Needs root, and debootstrap and systemd-nspawn (apt-get install debootstrap systemd-container). The system is made once
# (target/systemd-root, or --root) and never changed: each host has its changes elsewhere. The hosts have network
# namespaces of their own, joined by a bridge. --from has the programs to pack, by default target/debug.
#
# One host with everything on it, and what each unit promises, are tried by packaging/test-systemd.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wait_max_s=60
source packaging/booted.sh

hosts=(core-01 core-02 core-03)
# A subnet that is hardly anybody else's, and names that are not.
subnet=10.$((RANDOM % 64 + 64)).$((RANDOM % 256))
bridge=rs$((RANDOM % 90000 + 10000))
address() { echo "$subnet.1${1: -1}"; }

clean_up_more() {
  local host
  for host in "${hosts[@]}"; do ip netns del "$bridge-$host" 2>/dev/null || :; done
  ip link del "$bridge" 2>/dev/null || :
}

ip link add "$bridge" type bridge
ip link set "$bridge" up
for host in "${hosts[@]}"; do
  ip netns add "$bridge-$host"
  ip link add "$bridge${host: -1}o" type veth peer name host0 netns "$bridge-$host"
  ip link set "$bridge${host: -1}o" master "$bridge" up
  ip -n "$bridge-$host" addr add "$(address "$host")/24" dev host0
  ip -n "$bridge-$host" link set host0 up
  ip -n "$bridge-$host" link set lo up
done

# everywhere COMMAND…: on each host that runs.
everywhere() {
  local host
  for host in "${hosts[@]}"; do
    if [ -n "${leader[$host]:-}" ]; then on "$host" "$@"; fi
  done
}
boot_host() { boot "$1" "--network-namespace-path=/run/netns/$bridge-$1"; }
# write HOST MODE PATH: writes standard input there.
write() { on "$1" sh -c "umask 077; mkdir -p '${3%/*}'; cat >'$3'; chmod $2 '$3'"; }
etcd_urls() { for host in "${hosts[@]}"; do echo -n "http://$host:2379,"; done | sed 's/,$//'; }

for host in "${hosts[@]}"; do boot_host "$host"; done
passed "three hosts are up"

# --- What an operator sets up, once for all hosts ---
names="127.0.0.1 localhost"
for host in "${hosts[@]}"; do names+=$'\n'"$(address "$host") $host dictators"; done
members=$(for host in "${hosts[@]}"; do echo -n "$host=http://$(address "$host"):2380,"; done | sed 's/,$//')
for host in "${hosts[@]}"; do
  write "$host" 644 /etc/hosts <<<"$names"
  on "$host" sh -c 'systemctl disable --quiet --now redis-server; systemctl reset-failed; systemctl stop etcd; rm -rf /var/lib/etcd/default'
  write "$host" 644 /etc/default/etcd <<EOF
ETCD_NAME=$host
ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:2379,http://$(address "$host"):2379
ETCD_ADVERTISE_CLIENT_URLS=http://$(address "$host"):2379
ETCD_LISTEN_PEER_URLS=http://$(address "$host"):2380
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$(address "$host"):2380
ETCD_INITIAL_CLUSTER=$members
EOF
  on "$host" dpkg --install "/packages/$package" >"$folder/dpkg.log" 2>&1 || { cat "$folder/dpkg.log" >&2; fail "the package installs"; }
done
for host in "${hosts[@]}"; do on "$host" systemctl enable --quiet --now --no-block etcd; done
until_true "etcd has a majority" on core-01 etcdctl endpoint health

# Users and passwords of the nodes, and who may ask the dictators.
write core-01 600 /root/users.json <<'JSON'
{"replica": {"password": "r#$!()"}, "dictator": {"password": "d '\"\\ü"}, "admin": {"name": "ops", "password": "admin"},
 "applications": [{"name": "shop", "password": "shop"}]}
JSON
on core-01 dictatorctl cluster-config /root/users.json --folder /root/redis-1 --installed-in /etc/redis-dictator/redis-1 >/dev/null
issued=$(on core-01 dictatorctl token new --name observer --role operator 2>&1)
token=$(grep -v 'sha256:' <<<"$issued" | grep -oE '[A-Za-z0-9_-]{40,}' | head -n 1)
examples=/usr/share/doc/redis-dictator/examples
for host in "${hosts[@]}"; do
  for file in users.acl redis.conf dictator-password; do
    on core-01 cat "/root/redis-1/$file" | write "$host" 600 "/etc/redis-dictator/redis-1/$file"
  done
  grep 'sha256:' <<<"$issued" | write "$host" 600 /etc/redis-dictator/tokens
  write "$host" 600 /etc/redis-dictator/observer-token <<<"$token"
  write "$host" 644 /etc/redis-dictator/node.env <<<"ETCDCTL_ENDPOINTS=$(etcd_urls)"
  write "$host" 644 /etc/redis-dictator/dictator.env <<EOF
DICTATOR_ETCD=$(etcd_urls)
DICTATOR_LISTEN=$(address "$host"):8080
DICTATOR_ALLOW_HOST=dictators,$host
DICTATOR_REDIS_USERNAME=dictator
EOF
  write "$host" 644 /etc/systemd/system/dictator.service.d/secrets.conf <<'EOF'
[Service]
LoadCredential=redis-password:/etc/redis-dictator/redis-1/dictator-password
LoadCredential=tokens:/etc/redis-dictator/tokens
EOF
  write "$host" 644 /etc/redis-dictator/observer.env <<EOF
OBSERVER_ETCD=$(etcd_urls)
OBSERVER_TRIGGER=/config/redis-1/topology-trigger
OBSERVER_READ=/config/redis-1/topology
OBSERVER_NOTIFY=http://dictators:8080/master,http://127.0.0.1:8081/dns
EOF
  write "$host" 644 /etc/systemd/system/observer.service.d/secrets.conf <<'EOF'
[Service]
LoadCredential=notify-token:/etc/redis-dictator/observer-token
EOF
  write "$host" 600 /etc/redis-dictator/dictatorctl.env <<EOF
DICTATORCTL_ENDPOINT=http://core-01:8080,http://core-02:8080,http://core-03:8080
DICTATORCTL_TOKEN_FILE=/etc/redis-dictator/observer-token
DICTATORCTL_ETCD=$(etcd_urls)
EOF
  on "$host" sh -c "mkdir -p /etc/systemd/system/dnsd.service.d /etc/systemd/system/redis-node@.service.d &&
    cp $examples/dnsd.service.d/port-53.conf /etc/systemd/system/dnsd.service.d/ &&
    cp $examples/redis-node@.service.d/cluster.conf /etc/systemd/system/redis-node@.service.d/"
  on "$host" systemctl daemon-reload
  on "$host" systemctl enable --quiet --now redis-node@redis-1 "${daemons[@]}"
done

ctl() { on "$asking" dictatorctl "$@"; }
asking=core-01
master_is() { [ "$(ctl master)" = "$(address "$1"):6379" ]; }
in_order() { ctl status -o json | grep -q '"drift": false'; }
active_everywhere() {
  local unit
  for unit in redis-node@redis-1 "${daemons[@]}"; do everywhere systemctl is-active --quiet "$unit" || return 1; done
}
# DNS of every host that runs names this one.
answered_is() {
  local host
  for host in "${!leader[@]}"; do
    on "$host" dig @127.0.0.1 +short +tries=1 +time=1 master.redis-1.docker A | grep -qx "$(address "$1")" || return 1
  done
}
metric() { on "$1" curl -sf -H "Authorization: Bearer $token" "http://$2/metrics" | sed -n "s/^$3 //p"; }
leading() { for host in "${!leader[@]}"; do metric "$host" "$(address "$host"):8080" dictator_leading | sed -n "s/^1.*/$host/p"; done; }
one_leads() { [ "$(leading | wc -l)" = 1 ]; }
# The exit code of a status that is not as wanted is 2.
told_away() { { ctl status || :; } | grep -q "^$1.*unknown"; }
shop() { ctl redis-cli -- --user shop --pass shop --no-auth-warning "$@"; }
kept() { [ "$(shop GET "$1")" = "$2" ]; }

until_true "all units are active" active_everywhere
until_true "one dictator has the say" one_leads
until_true "others know that they have not" status_has_on "$(printf '%s\n' "${hosts[@]}" | grep -v "$(leading)" | head -n 1)" dictator "another"
passed "units are ready when systemctl returns; one dictator of three has the say: $(leading)"

# With ports, because there is no name server here to ask for SRV records.
write core-01 644 /root/topology.json <<'JSON'
{"master": {"address": "core-01", "port": 6379},
 "slaves": [{"address": "core-02", "port": 6379}, {"address": "core-03", "port": 6379}]}
JSON
ctl define /root/topology.json >/dev/null
ctl trigger --wait >/dev/null
master_is core-01 || fail "core-01 is the master"
until_true "the nodes are in order" in_order
until_true "DNS on every host names core-01" answered_is core-01
shop SET colour blue >/dev/null
passed "a document comes into force, in redis and in DNS on every host"

ctl switch core-02 >/dev/null
master_is core-02 || fail "core-02 is the master"
until_true "DNS on every host names core-02" answered_is core-02
kept colour blue || fail "the data moved along"
passed "the master moves from one host to another"

examined=$(on core-01 env REDISCLI_AUTH=admin dictatorctl doctor cluster --redis-user dictator -- --user ops) || [ $? = 2 ] || fail "$examined"
if grep -q "^danger\|not permitted\|could not be examined\|lacks" <<<"$examined"; then fail "$examined"; fi
passed "the doctor examines every node, and the dictator's user: $(head -n 1 <<<"$examined")"

# The host that has the say, if it is not the master's; otherwise any other.
lost=$(leading)
[ "$lost" != core-02 ] || lost=core-03
asking=core-02
until_true "nothing is left to do" in_order
lose "$lost"
until_true "one dictator has the say after $lost was lost" one_leads
until_true "the master takes writes" shop SET while-away "$lost"
master_is core-02 || fail "nothing moved because $lost was lost"
until_true "the status tells that $lost is away" told_away "$lost"
passed "a host with a slave is lost: $(leading) has the say, writes go on, the status names $lost"

seen=$(metric core-02 127.0.0.1:8082 observer_delivered_revision)
boot_host "$lost"
until_true "all units of $lost are active again" active_everywhere
until_true "its node's start is delivered as a trigger" eval "[ \$(metric core-02 127.0.0.1:8082 observer_delivered_revision) -gt ${seen%.*} ]"
until_true "the nodes are in order" in_order
until_true "DNS on every host names core-02" answered_is core-02
master_is core-02 || fail "core-02 is the master"
passed "it boots, its units start by themselves, its node announces itself and is in its place"

asking=core-01
shop SET shape round >/dev/null
sleep 2 # Longer than redis keeps writes from the disk: what follows is a power failure.
lose core-02
until_true "one dictator has the say after core-02 was lost" one_leads
if refused=$(ctl switch core-01 2>&1); then fail "the master's place is not given away: $refused"; fi
grep -q "acting-master-unreachable\|cannot be reached" <<<"$refused" || fail "the refusal says why: $refused"
until_true "DNS still names core-02" answered_is core-02
passed "the master's host is lost: its place is not given away"

boot_host core-02
until_true "all units of core-02 are active again" active_everywhere
until_true "core-02 is the master again" master_is core-02
until_true "the nodes are in order" in_order
kept colour blue && kept shape round || fail "the data outlived the power failure"
ctl switch core-03 >/dev/null
until_true "DNS on every host names core-03" answered_is core-03
kept shape round || fail "the data moved along"
passed "it boots and is the master again with its data, and the master moves on"
