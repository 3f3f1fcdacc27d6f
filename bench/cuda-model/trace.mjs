// Traces of the emulator: the launches of a phase, with the bytes and the arithmetic that launchers report.
import { existsSync, readFileSync } from 'node:fs'

/** Reads the kernels and products that a trace file has gained since the last call. */
export class TraceReader {
  #lines = 0

  constructor(path) {
    this.path = path
  }

  /** `[{kind, name, bytes, flops, float32, aligned}]` */
  next() {
    const all = existsSync(this.path) ? readFileSync(this.path, 'utf8').trimEnd().split('\n') : []
    const fresh = all.slice(this.#lines).filter((line) => line !== '')
    this.#lines = all.length
    return fresh
      .map((line) => JSON.parse(line))
      .filter(({ kind }) => kind === 'kernel' || kind === 'product')
      .map(launchOf)
  }

  /** Runs a body and returns what it launched on the device. */
  async phase(device, body) {
    await device.synchronize()
    this.next()
    await body()
    await device.synchronize()
    return this.next()
  }
}

function launchOf({ kind, name, bytesRead, bytesWritten, flops, aligned = true }) {
  const bytes = bytesRead + bytesWritten
  if (kind === 'kernel') return { kind, name: kernelName(name), bytes, flops, float32: false }
  return { kind, name: name.replace(/ \d+x\d+x\d+.*/, ''), bytes, flops, float32: name.startsWith('f32'), aligned }
}

/** Strips namespaces and parameters, which begin at the first parenthesis after the template's arguments. */
const kernelName = (name) =>
  name
    .replace(/\(anonymous namespace\)::|mora::cuda::/g, '')
    .replace(/^void /, '')
    .replace(/^([^(<]*(?:<.*?>)?)\(.*$/, '$1')
