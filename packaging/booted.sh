# What the tests in booted systems share; they source it. It reads their command line, makes the system once, packs the
# package, boots hosts and ends them.
#
# A host is a systemd-nspawn container of the same system under another layer of its own, so that none changes
# another or the system itself, and one that is booted again finds what it had written.

# Longest wait for anything that should come true, in seconds.
wait_max_s=${wait_max_s:-40}
# What the system is made of.
packages=systemd,systemd-sysv,dbus,iproute2,redis-server,etcd-server,etcd-client,procps,curl,bind9-dnsutils
daemons=(dictator dnsd observer)
from=target/debug system=target/systemd-root
script=${BASH_SOURCE[1]##*/}
while [ $# -gt 0 ]; do
  case $1 in
    --from) from=${2:?--from needs a folder}; shift 2 ;;
    --root) system=${2:?--root needs a folder}; shift 2 ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[1]}"; exit ;;
    *) echo "$script: unknown option $1 (see --help)" >&2; exit 64 ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo "$script: booting a system needs root" >&2; exit 1; }
for tool in debootstrap systemd-nspawn nsenter ip; do
  command -v "$tool" >/dev/null || { echo "$script: $tool is missing: apt-get install debootstrap systemd-container iproute2" >&2; exit 1; }
done

# Of each host that runs: its first process, and the nspawn that holds it.
declare -A leader=() nspawn=()
folder=$(mktemp -d)

fail() { echo "FAILED: $*" >&2; exit 1; }
passed() { echo "passed: $*"; }
# on HOST COMMAND…: runs a command there.
on() { nsenter --target "${leader[$1]}" --all --root "${@:2}"; }
# property_on HOST UNIT PROPERTY
property_on() { on "$1" systemctl show --property "$3" --value "$2"; }
is_on() { [ "$(property_on "$1" "$2" "$3")" = "$4" ]; }
status_has_on() { property_on "$1" "$2" StatusText | grep -q "$3"; }
# until_true WHAT COMMAND…: waits until the command succeeds.
until_true() {
  local what=$1 end=$((SECONDS + wait_max_s))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "$what, not within $wait_max_s s"
    sleep 0.2
  done
}
# What fails in a minimal system (etcd without names) is started again by the tests.
is_up() { case $(on "$1" systemctl is-system-running) in running | degraded) ;; *) return 1 ;; esac; }

# boot HOST OPTION…: boots it, with what it had written when it was booted before.
boot() {
  local host=$1 place=$folder/$1
  shift
  if [ ! -d "$place" ]; then
    mkdir -p "$place/upper" "$place/work" "$place/root"
    chmod 755 "$place" "$place/upper"
    mount -t overlay -o "lowerdir=$system,upperdir=$place/upper,workdir=$place/work" none "$place/root"
  fi
  systemd-nspawn --quiet --boot --directory="$place/root" --machine="$host-test-$$" --hostname="$host" --register=no --keep-unit \
    --bind-ro="$folder/packages:/packages" "$@" </dev/null >>"$place/console" 2>&1 &
  nspawn[$host]=$!
  until_true "$host has a first process" pgrep -P "${nspawn[$host]}"
  leader[$host]=$(pgrep -P "${nspawn[$host]}" | head -n 1)
  until_true "$host is up" is_up "$host"
}

# lose HOST: ends it as a power failure would.
lose() {
  kill -KILL "${leader[$1]}"
  timeout 30 tail --pid="${nspawn[$1]}" -f /dev/null || fail "$1 is gone"
  unset "leader[$1]" "nspawn[$1]"
}

clean_up() {
  local status=$? host
  trap - EXIT
  for host in "${!leader[@]}"; do
    if [ "$status" != 0 ]; then
      echo "--- $host" >&2
      on "$host" journalctl --no-pager -o short-precise -n 60 -u dictator -u dnsd -u observer -u 'redis-node@*' >&2 || :
    fi
    # The way to ask the first process of a container for its end.
    kill -s RTMIN+4 "${leader[$host]}" 2>/dev/null || :
  done
  for host in "${!nspawn[@]}"; do
    timeout 30 tail --pid="${nspawn[$host]}" -f /dev/null || kill "${nspawn[$host]}" 2>/dev/null || :
  done
  if declare -F clean_up_more >/dev/null; then clean_up_more; fi
  for host in "$folder"/*/root; do
    if [ -d "$host" ]; then umount "$host" || :; fi
  done
  rm -rf "$folder"
  exit "$status"
}
trap clean_up EXIT

if [ ! -e "$system/etc/debian_version" ]; then
  debootstrap --variant=minbase --include="$packages" "${DEBIAN_SUITE:-bookworm}" "$system" >"$folder/debootstrap.log" ||
    { tail -n 5 "$folder/debootstrap.log" >&2; fail "the system cannot be made"; }
fi
package=$(packaging/deb.sh --fast --from "$from" --out "$folder/packages")
package=${package##*/}
chmod 755 "$folder" "$folder/packages"
