/**
 * Writes assets/self-check.json, the values that "mora doctor --check" compares with. To be run on Linux x64 after the tests of
 * operations have passed, and only where a check was added or changed:
 *
 *   npm run build lib && node scripts/self-check.mjs
 */
import { writeFileSync } from 'node:fs'
import { allChecks } from '../dist/self-check/index.js'
import { GOLDEN_FILE } from '../dist/self-check/reference.js'
import { openDevice } from '../dist/tensor/device.js'

const device = openDevice({ device: 'cpu', threads: 2 })
const golden = {}
const encoded = (values) =>
  values.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength).toString('base64'))

for (const { name, compute } of allChecks) golden[name] = encoded(await compute(device))
writeFileSync(GOLDEN_FILE, `${JSON.stringify(golden, null, 1)}\n`)
