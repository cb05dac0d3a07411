# Sourced by .ci/run and examples/demo.sh: makes sure that the programs they start are there.
#
# What is there is never installed again. apt-get is used as root or through sudo; where neither can
# be had, the packages to install are named, and protoc is taken from the crate that carries it.

# Prints the Debian packages that carry a command.
tools_packages() {
  case $1 in
    redis-server) echo redis-server ;;
    redis-cli) echo redis-tools ;;
    etcd) echo etcd-server ;;
    etcdctl) echo etcd-client ;;
    ip) echo iproute2 ;;
    nft) echo nftables ;;
    nsenter) echo util-linux ;;
    script) echo bsdutils ;;
    musl-gcc) echo musl-tools ;;
    dig) echo bind9-dnsutils ;;
    protoc) echo protobuf-compiler libprotobuf-dev ;;
    cc) echo gcc libc6-dev ;;
    systemd-analyze) echo systemd ;;
    *) echo "$1" ;;
  esac
}

# Prints how to become root, or fails: nothing for root itself, sudo where it may be used.
tools_root() {
  if [ "$(id -u)" = 0 ]; then
    echo env
  elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    echo sudo
  else
    return 1
  fi
}

# Prints those of the given commands that are missing. protoc is no use without its include files.
tools_missing() {
  local name
  for name in "$@"; do
    if [ "$name" = protoc ]; then
      [ -n "${PROTOC:-}" ] && continue
      if command -v protoc >/dev/null && [ -e /usr/include/google/protobuf/empty.proto ]; then continue; fi
      if command -v protoc >/dev/null && [ -n "${PROTOC_INCLUDE:-}" ]; then continue; fi
      echo protoc
    elif ! command -v "$name" >/dev/null; then
      echo "$name"
    fi
  done
}

# Installs those of the given commands that are missing, if that can be done; says what it does.
tools_install() {
  local missing packages=() root name
  missing=$(tools_missing "$@")
  [ -n "$missing" ] || return 0
  for name in $missing; do packages+=($(tools_packages "$name")); done
  if command -v apt-get >/dev/null && root=$(tools_root); then
    echo "Installing ${packages[*]}"
    $root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  fi
  if [ -n "$(tools_missing protoc)" ]; then tools_protoc_from_crate; fi
}

# Fails, naming what to install, if one of the given commands is still missing.
tools_require() {
  local missing packages=() name
  missing=$(tools_missing "$@")
  [ -n "$missing" ] || return 0
  for name in $missing; do packages+=($(tools_packages "$name")); done
  {
    echo "Missing: "$missing
    echo "They could not be installed from here (that needs apt-get, and root or sudo). Please install:"
    echo "  apt-get install --no-install-recommends ${packages[*]}"
  } >&2
  return 1
}

# Sets PROTOC and PROTOC_INCLUDE to the copies that a crate carries (Linux on x86-64 only).
tools_protoc_from_crate() {
  [ "$(uname -sm)" = "Linux x86_64" ] || return 0
  local folder=target/protoc-from-crate manifest
  mkdir -p "$folder/src"
  printf '%s\n' '[package]' 'name = "protoc-from-crate"' 'version = "0.0.0"' 'edition = "2024"' '[workspace]' \
    '[dependencies]' 'protoc-bin-vendored-linux-x86_64 = "3"' >"$folder/Cargo.toml"
  : >"$folder/src/lib.rs"
  manifest=$(cargo metadata --quiet --format-version 1 --manifest-path "$folder/Cargo.toml" |
    grep -o '"manifest_path":"[^"]*/protoc-bin-vendored-linux-x86_64[^"]*"' | head -n 1 | cut -d '"' -f 4)
  [ -n "$manifest" ] || return 0
  cp "$(dirname "$manifest")/bin/protoc" "$folder/protoc"
  chmod +x "$folder/protoc"
  export PROTOC=$PWD/$folder/protoc PROTOC_INCLUDE
  PROTOC_INCLUDE=$(dirname "$manifest")/include
  echo "Using the protoc of the crate $(basename "$(dirname "$manifest")")"
}
