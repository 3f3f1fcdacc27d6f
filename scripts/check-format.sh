#!/usr/bin/env bash
# Checks the layout of the C++ sources with clang-format; --write repairs it.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v clang-format >/dev/null 2>&1; then
  echo 'check-format: skipped, clang-format is not installed' >&2
  exit 0
fi

folders=(native)
[ -d test/native ] && folders+=(test/native bench/gpu-kernels)
mode=(--dry-run -Werror)
[ "${1:-}" = --write ] && mode=(-i)
find "${folders[@]}" -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0 |
  xargs -0 -r clang-format "${mode[@]}"
