#!/usr/bin/env bash
# Finds the master by its SRV record and opens redis-cli there, or runs the one command given.
#
#   redis-cli.sh [COMMAND [ARGUMENT…]]
#
#   DNS_SERVER   where dnsd answers, default 127.0.0.1
#   DNS_PORT     its port, default 5300
#   DOMAIN       the domain it publishes, default redis-1.docker
set -euo pipefail

server=${DNS_SERVER:-127.0.0.1} port=${DNS_PORT:-5300} name=master.${DOMAIN:-redis-1.docker}
ask() { dig +short +time=2 +tries=2 -p "$port" "@$server" "$@"; }

read -r _ _ redis_port target < <(ask "$name" SRV | sort -n) ||
  { echo "redis-cli: no SRV record of $name at $server port $port; was a topology applied?" >&2; exit 1; }
address=$(ask "$target" A; ask "$target" AAAA)
[ -n "$address" ] || { echo "redis-cli: $server knows no address of $target" >&2; exit 1; }
exec redis-cli -h "${address%%$'\n'*}" -p "$redis_port" "$@"
