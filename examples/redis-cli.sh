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
fail() { printf 'redis-cli: %s\n' "$*" >&2; exit 1; }
# ask NAME TYPE: the records' data, without the comments that dig makes about failures.
ask() {
  local answer
  answer=$(dig +short +time=2 +tries=2 -p "$port" "@$server" "$@") ||
    { echo "redis-cli: no DNS answer from $server port $port; is dnsd running?" >&2; exit 2; }
  grep -v '^;' <<<"$answer"
}

services=$(ask "$name" SRV) || [ $? != 2 ] || exit 1
[ -n "$services" ] || fail "no SRV record of $name at $server port $port; was a topology applied?"
read -r _ _ redis_port target < <(sort -n <<<"$services")
address=$(ask "$target" A || ask "$target" AAAA) || fail "$server knows no address of $target"
exec redis-cli -h "${address%%$'\n'*}" -p "$redis_port" "$@"
