#!/bin/sh
# Checks and measures node-mora's CUDA backend on this machine's GPU: needs NVIDIA's driver and cuBLAS, nothing else.
#   sh run.sh [--json gpu-report.json] [--quick] [--only tests,products] [--minutes 10]
# It unpacks into a folder beside this script the first time (about 250 MiB; MORA_CHECK_FOLDER names another). Where cuBLAS
# is in no usual place, MORA_CUBLAS names its folder. Ends with 2 where no GPU can be used, 1 where a check failed.
set -eu
MORA_CHECK_STARTED=$(date +%s)000
export MORA_CHECK_STARTED
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
files=${MORA_CHECK_FOLDER:-$here/files}
if [ ! -e "$files/.unpacked" ]; then
  mkdir -p "$files"
  for archive in files kernels golden; do
    LD_LIBRARY_PATH="$here/unpack" "$here/unpack/xz" -dc "$here/$archive.tar.xz" | tar -xf - -C "$files"
  done
  : >"$files/.unpacked"
fi
export MORA_BINARY="$files/native/mora.node"
export MORA_KERNEL_TESTS="$files/native/gpu_kernel_tests"
exec "$files/bin/node" "$files/scripts/check-gpu/main.mjs" "$@"
