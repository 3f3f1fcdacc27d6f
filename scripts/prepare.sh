#!/usr/bin/env bash
# Prepares a checkout for tests and the demo: system packages, node_modules, the addon, dist. Each only if needed.
# --emulated: also the CUDA backend that runs on the CPU, which tests use; --browser: also the browser that tests of the
# dashboard use; --ranks: also the launchers that tests of many processes use; --slurm: also Slurm, which the long ones of these
# use. Without them, these tests are skipped.
set -euo pipefail
options=" $* "
cd "$(dirname "$0")/.."

bash scripts/setup.sh
# Before the addon is built, so that it is built with gloo.
if [[ $options == *" --ranks "* ]]; then
  bash scripts/setup.sh --ranks || echo 'prepare: no Open MPI, MPICH or gloo here, tests of many processes will be skipped' >&2
fi
if [[ $options == *" --slurm "* ]]; then
  bash scripts/setup.sh --slurm || echo 'prepare: no Slurm here, its tests will be skipped' >&2
fi

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  MORA_BUILD=off npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi

node scripts/build-native.mjs --if-needed
if [[ $options == *" --browser "* ]]; then
  bash scripts/setup.sh --browser || echo 'prepare: no Chromium here, tests of the dashboard in a browser will be skipped' >&2
fi
if [[ $options == *" --emulated "* ]]; then
  if bash scripts/setup.sh --emulated; then
    node scripts/build-native.mjs --emulated --if-needed ||
      echo 'prepare: the emulator for CUDA could not be built, its tests will be skipped' >&2
  else
    echo 'prepare: no emulator for CUDA here, its tests will be skipped' >&2
  fi
fi

# A source that is newer than the last complete build, or an output whose source is gone.
if [ ! -e dist/.built ] || [ -n "$(find lib package.json tsconfig.json tsconfig.build.json -newer dist/.built -print -quit)" ]; then
  rm -rf dist
  npm run --silent build lib
  touch dist/.built
fi
