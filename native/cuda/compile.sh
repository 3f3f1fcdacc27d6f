#!/bin/sh
# Compiles a kernel's file with the command given, and keeps what ptxas says of each kernel (registers, spills) beside the
# object, for scripts/kernel-table.mjs; everything else that the compiler says is passed on.
previous=''
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
log=${object:-/dev/null}
[ "$log" = /dev/null ] || log=$log.ptxas
"$@" 2>"$log"
status=$?
[ "$log" = /dev/null ] && exit "$status"
if [ "$status" -ne 0 ]; then
  cat "$log" >&2
else
  grep -v -e '^ptxas info ' -e 'bytes stack frame' "$log" >&2
fi
exit "$status"
