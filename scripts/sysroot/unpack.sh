#!/usr/bin/env bash
# unpack.sh x64|arm64: what a build for older systems is made with, from packages of Debian 12, in build/sysroot/x64 or arm64,
# with nothing of it on the machine itself: the C and C++ libraries, Eigen, and xz for the GPU check's pack. Installs the
# compiler, GCC 12, where it is missing and this is root. Ends with 3 and a sentence on stderr where they cannot be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

give_up() {
  echo "sysroot: $*" >&2
  exit 3
}

case $1 in
x64) architecture=amd64 triple=x86_64-linux-gnu package=x86-64-linux-gnu ;;
arm64) architecture=arm64 triple=aarch64-linux-gnu package=aarch64-linux-gnu ;;
*) give_up "Expected x64 or arm64 but received $1." ;;
esac
# The compiler for this machine itself has its name with and without the architecture, its package only without.
package=g++-12-$package
[ "$(dpkg --print-architecture 2>/dev/null)" != "$architecture" ] || package=g++-12
if ! command -v "$triple-g++-12" >/dev/null 2>&1; then
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    give_up "not found (its Debian name): $package"
  fi
  install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package")
  echo "sysroot: installing $package" >&2
  "${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; } ||
    give_up "could not be installed: $package"
fi
command -v dpkg-deb >/dev/null 2>&1 || give_up 'not found: dpkg-deb'

sysroot=build/sysroot/$1
if [ -e "$sysroot/complete" ] && [ "$sysroot/complete" -nt "$0" ]; then exit 0; fi
rm -rf "$sysroot"
bash scripts/debian-packages.sh --into "$sysroot/packages" --suite bookworm --architecture "$architecture" \
  --with-dependencies libstdc++-12-dev libc6-dev libeigen3-dev xz-utils
for each in "$sysroot"/packages/*.deb; do dpkg-deb --extract "$each" "$sysroot"; done
rm -rf "$sysroot/packages"
# Absolute links would lead out of the folder.
find "$sysroot" -type l -lname '/*' -printf '%p\0%l\0' |
  while IFS= read -r -d '' link && IFS= read -r -d '' target; do ln -sfnr "$sysroot$target" "$link"; done
mkdir "$sysroot/licences"
cp "$sysroot/usr/share/doc/gcc-12-base/copyright" /usr/share/common-licenses/GPL-3 "$sysroot/licences"
touch "$sysroot/complete"
