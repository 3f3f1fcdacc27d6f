#!/usr/bin/env bash
# The whole way on the command line: look, train, measure, ask, merge.
#
#     bash examples/cli.sh [model] [data] [output] [steps]
set -euo pipefail

root="$(cd "$(dirname "$0")/.." && pwd)"
model="${1:-$root/assets/demo-model}"
data="${2:-$root/examples/facts.jsonl}"
output="${3:-out/cli}"
steps="${4:-60}"

# With the package installed, this is just: npx mora
mora() { node "$root/dist/cli/main.js" "$@"; }

mora doctor
mora inspect --model "$model" --data "$data" --limit 2

# Of a model of usual size, leave out what comes after --max-steps: the defaults are made for it.
mora train --model "$model" --data "$data" --output "$output" --overwrite --max-steps "$steps" \
  --rank 1 --learning-rate 0.03 --batch-size 64 --dtype float32 --threads 1
mora inspect --adapter "$output" --json > "$output/adapter.json"

mora eval --model "$model" --adapter "$output" --task recall --data "$data" --dtype float32 --threads 1
mora eval --model "$model" --adapter "$output" --task perplexity --data "$data" --json --dtype float32 --threads 1
mora generate --model "$model" --adapter "$output" --prompt "64480c9a-7051-41cd-b365-bf9898139a6d:" --max-new-tokens 32 \
  --dtype float32 --threads 1

mora merge --model "$model" --adapter "$output" --output "$output/merged"
mora generate --model "$output/merged" --prompt "64480c9a-7051-41cd-b365-bf9898139a6d:" --max-new-tokens 32 --threads 1
