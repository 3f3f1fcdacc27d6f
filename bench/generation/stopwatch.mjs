/** Each call gives the time since the one before: by the clock, and that of this process on processors. */
export function stopwatch() {
  let [clock, cpu] = [performance.now(), process.cpuUsage()]
  return () => {
    const since = process.cpuUsage(cpu)
    const seconds = (performance.now() - clock) / 1000
    clock = performance.now()
    cpu = process.cpuUsage()
    return { seconds, cpuSeconds: (since.user + since.system) / 1e6 }
  }
}
