#!/usr/bin/env bash
# Installs what the native code is built with: CMake, a C++20 compiler, make, oneDNN, Highway and Eigen; ccache makes
# rebuilds fast. --emulated adds what the CUDA emulator of the tests needs (Boost.Context), --browser what the tests of
# the dashboard need (Chromium). Needs neither Node.js nor npm install, installs only what is missing, and may be run any
# number of times.
set -euo pipefail
options=" $* "

missing=()
has_command() { command -v "$1" >/dev/null 2>&1; }
has_header() {
  local folder
  for folder in /usr/include /usr/local/include /opt/homebrew/include ${CPATH:+${CPATH//:/ }}; do
    [ -e "$folder/$1" ] && return 0
  done
  return 1
}

has_command cmake || missing+=(cmake)
has_command g++ || has_command clang++ || missing+=(g++)
has_command make || has_command ninja || missing+=(make)
has_header oneapi/dnnl/dnnl.hpp || missing+=(libdnnl-dev)
has_header hwy/highway.h || missing+=(libhwy-dev)
has_header eigen3/Eigen/Dense || missing+=(libeigen3-dev)
has_command ccache || missing+=(ccache)
if [[ $options == *" --emulated "* ]]; then
  has_header boost/context/detail/fcontext.hpp || missing+=(libboost-context-dev)
fi
if [[ $options == *" --browser "* ]]; then
  has_command chromium || has_command chromium-browser || has_command google-chrome || missing+=(chromium)
fi

if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

tell() {
  cat >&2 <<END
node-mora needs these packages to be built and tested (their Debian names): ${missing[*]}
  Debian 13, Ubuntu 24.10 or later: apt-get install ${missing[*]}
  Fedora: dnf install cmake gcc-c++ make onednn-devel highway-devel eigen3-devel ccache
  Arch: pacman -S cmake gcc make onednn highway eigen ccache
  macOS: brew install cmake onednn highway eigen libomp ccache
END
}

if ! has_command apt-get; then
  tell
  exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  # Where a password would be asked for and nobody can answer, say what is needed instead of hanging.
  if has_command sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=(sudo)
  else
    tell
    exit 1
  fi
fi

install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "setup: installing ${missing[*]}" >&2
# The package lists of a fresh machine are empty or old: only then are they worth the download.
if ! install >"$log" 2>&1; then
  if ! { "${as_root[@]}" apt-get update -qq && install; } >"$log" 2>&1; then
    cat "$log" >&2
    tell
    exit 1
  fi
fi
