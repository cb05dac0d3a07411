#!/usr/bin/env bash
# Puts the defined topology in force: writes the trigger key that the observer watches.
#
#   apply-topology.sh
#
#   ETCDCTL_ENDPOINTS   etcd, default http://127.0.0.1:2379 (etcdctl reads it by itself)
#   TRIGGER_KEY         the key, default /config/redis-1/topology-trigger
#   TOPOLOGY_FILE       if set, there is nothing to do: an observer with --file applies every change
#
# The value does not matter; the time helps whoever looks at the key later. Success means that the
# trigger is written. What became of it: GET /status of the observer, GET /history of the dictator.
set -euo pipefail

[ -z "${TOPOLOGY_FILE:-}" ] || exit 0
ETCDCTL_API=3 etcdctl put "${TRIGGER_KEY:-/config/redis-1/topology-trigger}" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >/dev/null
