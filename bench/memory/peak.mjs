// For `node --import`: at its end the process writes the most memory [bytes] that was resident at one time into a file.
import { readFileSync, writeFileSync } from 'node:fs'

process.on('exit', () => {
  const peak = /VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]
  writeFileSync(process.env.MORA_BENCH_PEAK, String(peak * 1024))
})
