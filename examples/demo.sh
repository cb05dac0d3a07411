#!/usr/bin/env bash
# The whole loop on this machine: three redis nodes, etcd, dictator, dnsd and observer, and a client
# that counts its writes while the master moves from node to node.
#
#   examples/demo.sh [--quick] [--seconds N]
#
# Needs nothing but Rust: what else is missing is installed (apt-get, as root or with sudo), or named.
# Everything listens on free ports of 127.0.0.1, lives in a temporary folder, and is stopped at the
# end, also on Ctrl-C. --quick builds without optimization and moves the master for 6 s instead of 20.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source .ci/tools.sh

seconds='' profile=release
while [ $# -gt 0 ]; do
  case $1 in
    --quick) profile=dev seconds=${seconds:-6}; shift ;;
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit ;;
    *) echo "demo: unknown option $1 (see --help)" >&2; exit 64 ;;
  esac
done
seconds=${seconds:-20}
writers=8 interval_ms=2 domain=redis-1.demo
pids=() folder=''

say() { if [ -t 1 ]; then printf '\e[1m%s\e[0m\n' "$*"; else printf '%s\n' "$*"; fi; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# Ends what was started, the last first, by its own pid; shows the logs if something went wrong.
clean_up() {
  local status=$? pid log
  trap - EXIT INT TERM
  for ((index = ${#pids[@]} - 1; index >= 0; index--)); do
    pid=${pids[index]}
    if kill "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null || :; fi
  done
  if [ "$status" != 0 ] && [ "$status" != 130 ] && [ -n "$folder" ]; then
    for log in "$folder"/*.log; do
      [ -s "$log" ] && printf -- '--- end of %s\n%s\n' "$(basename "$log")" "$(tail -n 12 "$log")" >&2
    done
  fi
  [ -n "$folder" ] && rm -rf "$folder"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Sets the variable named to a port of 127.0.0.1 that nobody listens on and that was not given out yet.
taken=' '
free_port() {
  local candidate
  for _ in {1..1000}; do
    candidate=$((12000 + RANDOM % 20000))
    if [[ $taken != *" $candidate "* ]] && ! (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; then
      taken+="$candidate "
      printf -v "$1" '%s' "$candidate"
      return
    fi
  done
  fail "no free port"
}

# start NAME PROGRAM ARGUMENT…: in the background, its output in a log of that name.
start() {
  local name=$1
  shift
  "$@" >"$folder/$name.log" 2>&1 </dev/null &
  pids+=($!)
}

# wait_for SECONDS WHAT COMMAND…: until the command succeeds.
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" 2>/dev/null; do
    [ "$SECONDS" -lt "$end" ] || fail "waited in vain for $what"
    sleep 0.02
  done
}

# healthy PORT PATH: whether GET answers 200.
healthy() {
  local line
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&3
  read -r line <&3 || line=''
  exec 3>&-
  [[ $line == *' 200 '* ]]
}

pings() { [ "$(redis-cli -p "$1" ping)" = PONG ]; }
published() { dig +short +time=1 +tries=1 -p "$dns" @127.0.0.1 "master.$domain" SRV | cut -d ' ' -f 3; }
publishes() { [ "$(published)" = "$1" ]; }

say "1. Tools"
command -v cargo >/dev/null || fail "Rust is missing; see https://rustup.rs"
tools_install cc redis-server redis-cli dig protoc etcd etcdctl
tools_require cc redis-server redis-cli dig protoc
source_of_topology=etcd
if [ -n "$(tools_missing etcd etcdctl)" ]; then
  source_of_topology=file
  echo "etcd is missing and cannot be installed from here: the observer follows a file instead."
fi

say "2. Build ($profile)"
cargo build --profile "$profile" -p dictator -p dnsd -p observer -p redis-dictator --bins --example counter
target=${CARGO_TARGET_DIR:-target}/$([ "$profile" = dev ] && echo debug || echo "$profile")

say "3. Start"
folder=$(mktemp -d "${TMPDIR:-/tmp}/redis-dictator-demo.XXXXXX")
nodes=()
for index in 1 2 3; do
  free_port port
  nodes+=("$port")
  mkdir "$folder/redis-$index"
  # Born unassigned: read-only and following nobody, until the dictator gives it its place.
  start "redis-$index" redis-server --port "$port" --bind 127.0.0.1 --dir "$folder/redis-$index" \
    --appendonly yes --save '' --repl-diskless-sync-delay 0 --repl-backlog-size 64mb --replicaof 127.0.0.1 0
done
free_port dictator; free_port dnsd; free_port observer; free_port dns
start dictator "$target/dictator" --listen "127.0.0.1:$dictator" --state-dir "$folder/dictator"
start dnsd "$target/dnsd" --listen "127.0.0.1:$dnsd" --dns-listen "127.0.0.1:$dns" --domain "$domain" \
  --state-dir "$folder/dnsd"
if [ "$source_of_topology" = etcd ]; then
  free_port etcd; free_port etcd_peer
  export ETCDCTL_ENDPOINTS=http://127.0.0.1:$etcd
  start etcd etcd --data-dir "$folder/etcd" --listen-client-urls "$ETCDCTL_ENDPOINTS" \
    --advertise-client-urls "$ETCDCTL_ENDPOINTS" --listen-peer-urls "http://127.0.0.1:$etcd_peer" \
    --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer" --initial-cluster "default=http://127.0.0.1:$etcd_peer"
  wait_for 30 "etcd" healthy "$etcd" /health
  source_flags=(--etcd "$ETCDCTL_ENDPOINTS" --trigger /config/redis-1/topology-trigger --read /config/redis-1/topology)
else
  export TOPOLOGY_FILE=$folder/topology.json
  source_flags=(--file "$TOPOLOGY_FILE")
fi
start observer "$target/observer" "${source_flags[@]}" --listen "127.0.0.1:$observer" --state-dir "$folder/observer" \
  --notify "http://127.0.0.1:$dictator/master" --notify "http://127.0.0.1:$dnsd/dns"
for port in "${nodes[@]}"; do wait_for 10 "redis at port $port" pings "$port"; done
wait_for 10 "the dictator" healthy "$dictator" /healthz
wait_for 10 "dnsd" healthy "$dnsd" /healthz
wait_for 10 "the observer" healthy "$observer" /healthz
printf '   redis      127.0.0.1 ports %s (read-only, unassigned)\n' "${nodes[*]}"
printf '   topology   from %s\n' "$source_of_topology${etcd:+ at $ETCDCTL_ENDPOINTS}"
printf '   dictator   http://127.0.0.1:%s   dnsd http://127.0.0.1:%s   observer http://127.0.0.1:%s\n' \
  "$dictator" "$dnsd" "$observer"
printf '   DNS        dig -p %s @127.0.0.1 master.%s SRV\n' "$dns" "$domain"

# Defines and triggers the topology whose master is the first of the ports, then waits for DNS.
move() {
  local document before after
  printf -v document '{"address": "127.0.0.1", "port": %s}, ' "${nodes[@]:1}"
  document="{\"master\": {\"address\": \"127.0.0.1\", \"port\": ${nodes[0]}}, \"slaves\": [${document%, }]}"
  before=${EPOCHREALTIME/[.,]/}
  examples/define-topology.sh - <<<"$document"
  examples/apply-topology.sh
  wait_for 30 "DNS to say that the master is at port ${nodes[0]}" publishes "${nodes[0]}"
  after=${EPOCHREALTIME/[.,]/}
  printf '   master.%s is 127.0.0.1:%s, %d ms after it was defined\n' "$domain" "${nodes[0]}" $(((after - before) / 1000))
}

say "4. Define a topology and trigger it"
move
dig +noall +answer +additional -p "$dns" @127.0.0.1 "master.$domain" SRV "slaves.$domain" SRV | sed 's/^/   /'

say "5. Count writes while the master moves for $seconds s"
attempts=$(((seconds + 1) * writers * 1000 / interval_ms))
COUNTER_CLEAR=1 COUNTER_COUNT=$attempts COUNTER_INTERVAL=$interval_ms COUNTER_WRITERS=$writers \
  COUNTER_DNS=127.0.0.1:$dns COUNTER_DOMAIN=$domain "$target/examples/counter" >"$folder/counter.out" 2>&1 &
counter=$!
pids+=("$counter")
end=$((SECONDS + seconds))
while [ "$SECONDS" -lt "$end" ]; do
  sleep 1
  nodes=("${nodes[@]:1}" "${nodes[0]}")
  move
  tail -n 1 "$folder/counter.out" | sed 's/^/      /'
done
status=0
wait "$counter" || status=$?
unset 'pids[-1]' # reaped: its pid may be another process's by now

say "6. The tally"
sed 's/^/   /' "$folder/counter.out" | tail -n 12
[ "$status" = 0 ] || fail "the counter found writes missing or phantom"
say "$(tail -n 1 "$folder/counter.out")"
