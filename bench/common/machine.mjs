import { cpus, loadavg } from 'node:os'

/** Prints what is measured on which machine and returns it for the report; `pytorch` is PyTorch's version or null. */
export function describeMachine(subject, { pytorch, python }) {
  const [cpu, cores, load] = [cpus()[0].model, cpus().length, loadavg()[0]]
  console.log(`${subject}; ${cpu}, ${cores} cores, load ${load.toFixed(1)}`)
  if (load > cores / 4)
    console.log('Others are using this machine: figures are lower than it can do, and they scatter.')
  console.log(pytorch ? `PyTorch ${pytorch}` : `${python} has no torch and numpy: only node-mora is measured.`)
  return { cpu, cores, load, pytorch }
}
