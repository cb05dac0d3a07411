#!/usr/bin/env bash
# Moves the master from node to node, to see what clients make of it.
#
#   mess-with-cluster.sh [--every SECONDS] [--for SECONDS] [FILE]
#
# Every 10 seconds the first slave becomes master and the master the last slave, until ENTER is
# pressed, or for the given time. FILE (default topology.json beside this script) names the nodes to
# begin with; it is not changed. The variables of define-topology.sh and apply-topology.sh hold here too.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
every=10 seconds='' file=$here/topology.json
while [ $# -gt 0 ]; do
  case $1 in
    --every) every=${2:?--every needs a number of seconds}; shift 2 ;;
    --for) seconds=${2:?--for needs a number of seconds}; shift 2 ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit ;;
    -*) echo "mess-with-cluster: unknown option $1 (see --help)" >&2; exit 64 ;;
    *) file=$1; shift ;;
  esac
done

# Each node is the innermost {…} with an address: the master first, in the documents we write.
mapfile -t nodes < <(tr -d '\n' <"$file" | grep -o '{[^{}]*"address"[^{}]*}')
[ "${#nodes[@]}" -ge 2 ] || { echo "mess-with-cluster: $file names fewer than two nodes" >&2; exit 1; }

document() {
  local IFS=,
  printf '{"master": %s, "slaves": [%s]}\n' "${nodes[0]}" "${nodes[*]:1}"
}

# True when it is time to end: ENTER was pressed.
pause() {
  if [ -n "$seconds" ]; then
    sleep "$every"
    return 1
  fi
  read -r -t "$every" _ && return 0
  [ $? -gt 128 ] && return 1 # timed out
  echo "mess-with-cluster: no input to wait for; use --for SECONDS" >&2
  exit 64
}

[ -n "$seconds" ] || echo "Moving the master every $every s; press ENTER to end."
end=$((SECONDS + ${seconds:-0}))
while [ -z "$seconds" ] || [ "$SECONDS" -lt "$end" ]; do
  nodes=("${nodes[@]:1}" "${nodes[0]}")
  document | "$here/define-topology.sh" -
  "$here/apply-topology.sh"
  printf '%(%H:%M:%S)T  master shall be %s\n' -1 "${nodes[0]}"
  if pause; then break; fi
done
