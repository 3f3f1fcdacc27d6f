/** Each call returns the time since the previous one: by the clock, and this process's CPU time. */
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
