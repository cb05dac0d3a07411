#!/usr/bin/env bash
# Writes down the topology that is wanted. Nothing moves until it is applied (apply-topology.sh).
#
#   define-topology.sh [FILE]        FILE defaults to topology.json beside this script; - reads standard input
#
#   ETCDCTL_ENDPOINTS   etcd, default http://127.0.0.1:2379 (etcdctl reads it by itself)
#   TOPOLOGY_KEY        the key, default /config/redis-1/topology
#   TOPOLOGY_FILE       if set: write to this file, which an observer with --file follows, instead of etcd
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=${1:-$here/topology.json}
key=${TOPOLOGY_KEY:-/config/redis-1/topology}

[ "$source" = - ] && source=/dev/stdin
document=$(cat "$source")
[ -n "$document" ] || { echo "define-topology: $source is empty" >&2; exit 1; }

if [ -n "${TOPOLOGY_FILE:-}" ]; then
  # Renamed into place: who reads the file sees the old document or the new one, never half of it.
  printf '%s\n' "$document" >"$TOPOLOGY_FILE.new"
  mv "$TOPOLOGY_FILE.new" "$TOPOLOGY_FILE"
  exit
fi
ETCDCTL_API=3 etcdctl put "$key" <<<"$document" >/dev/null
