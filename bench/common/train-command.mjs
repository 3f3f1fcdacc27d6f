import { fileURLToPath } from 'node:url'

const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** Returns `[script, arguments…]` for `mora train` on the CPU, which overwrites `output`. */
export function trainCommand({ model, data, output, method, dtype, rows, length, steps, threads }) {
  const kind = method.name === 'lora' ? ['--method', 'lora'] : ['--method', 'mora', '--operator', method.name]
  return [
    command,
    'train',
    '--model',
    model,
    '--data',
    data,
    '--output',
    output,
    '--overwrite',
    ...kind,
    '--rank',
    String(method.rank),
    '--device',
    'cpu',
    '--dtype',
    dtype,
    ...['--batch-size', String(rows), '--max-length', String(length), '--max-steps', String(steps)],
    ...(threads > 0 ? ['--threads', String(threads)] : []),
  ]
}
