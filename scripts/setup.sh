#!/usr/bin/env bash
# Installs what the native code is built with: CMake, a C++20 compiler, make and Eigen; oneDNN and Highway where the system's
# are new enough (else the build makes them, cmake/pinned-library.cmake); ccache, which makes rebuilds fast. --emulated adds
# what the CUDA emulator of the tests needs (Boost.Context), --browser what the tests of the dashboard need (Chromium), --ranks
# what tests of many processes need (Open MPI, MPICH, gloo), --slurm what those of npm run test:long need beside that,
# --toolkit what CUDA 12.4 needs (GCC 13 or older).
# Needs neither Node.js nor npm install, installs only what is missing, and may be run any number of times.
set -euo pipefail
options=" $* "

missing=() wanted=()
has_command() { command -v "$1" >/dev/null 2>&1; }
has_header() {
  local folder
  for folder in /usr/include /usr/local/include /opt/homebrew/include ${CPATH:+${CPATH//:/ }}; do
    [ -e "$folder/$1" ] && return 0
  done
  return 1
}

# Whether the system's lists have a package in a version or newer.
offers() {
  local version
  version=$(LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9].*\)/\1/p')
  [ -n "$version" ] && dpkg --compare-versions "$version" ge "$2"
}

as_root=()
can_install() {
  has_command apt-get || return 1
  [ "$(id -u)" -ne 0 ] || return 0
  # If sudo would ask for a password and nobody can answer, print what is needed instead of hanging.
  has_command sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; } && as_root=(sudo)
}

has_command cmake || missing+=(cmake)
has_command g++ || has_command clang++ || missing+=(g++)
has_command make || has_command ninja || missing+=(make)
has_header eigen3/Eigen/Dense || missing+=(libeigen3-dev)
if [[ $options == *" --emulated "* ]]; then
  has_header boost/context/detail/fcontext.hpp || missing+=(libboost-context-dev)
fi
if [[ $options == *" --browser "* ]]; then
  has_command chromium || has_command chromium-browser || has_command google-chrome || missing+=(chromium)
fi
if [[ $options == *" --ranks "* ]]; then
  has_command mpirun.openmpi || missing+=(openmpi-bin)
  has_command mpirun.mpich || missing+=(mpich)
  has_header gloo/allreduce.h || missing+=(libgloo-dev)
fi
if [[ $options == *" --slurm "* ]]; then
  has_command srun || missing+=(slurm-client)
  has_command slurmctld || missing+=(slurmctld)
  has_command slurmd || missing+=(slurmd)
fi
# nvcc 12.4 refuses newer ones.
older_gcc() {
  local compiler version
  for compiler in g++ g++-13 g++-12; do
    version=$("$compiler" -dumpversion 2>/dev/null | cut -d. -f1) && [ "${version:-99}" -le 13 ] && return 0
  done
  return 1
}
if [[ $options == *" --toolkit "* ]]; then
  older_gcc || missing+=(g++-13)
fi

tell() {
  cat >&2 <<END
node-mora needs these packages to be built and tested (their Debian names): ${missing[*]}
  Debian, Ubuntu: apt-get install ${missing[*]}
  Fedora: dnf install cmake gcc-c++ make eigen3-devel ccache onednn-devel highway-devel
  Arch: pacman -S cmake gcc make eigen ccache onednn highway
  macOS: xcode-select --install; brew install cmake highway eigen ccache
END
}

# These only save time: the build works without them.
has_command ccache || wanted+=(ccache 0)
has_header hwy/highway.h || wanted+=(libhwy-dev 1.2)
has_header oneapi/dnnl/dnnl.hpp || wanted+=(libdnnl-dev 3.7)
if [ ${#wanted[@]} -gt 0 ] && can_install; then
  # The package lists of a fresh machine are empty.
  offers cmake 0 || "${as_root[@]}" apt-get update -qq >&2 || true
  for ((i = 0; i < ${#wanted[@]}; i += 2)); do
    ! offers "${wanted[i]}" "${wanted[i + 1]}" || missing+=("${wanted[i]}")
  done
fi

if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if ! can_install; then
  tell
  exit 1
fi

install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "setup: installing ${missing[*]}" >&2
# Old lists name packages that are gone: only then are new lists worth the download.
if ! install >"$log" 2>&1; then
  if ! { "${as_root[@]}" apt-get update -qq && install; } >"$log" 2>&1; then
    cat "$log" >&2
    tell
    exit 1
  fi
fi
