/** What systems do differently with files, tried on Windows: runs there, from a folder of its own. */
import assert from 'node:assert/strict'
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const [root] = process.argv.slice(2)
const load = (path) => import(`file:///${join(root, 'dist', path).replaceAll('\\', '/')}`)
const { replaceFolder, writeFileAtomic } = await load('io/atomic.js')
const { lockFolder } = await load('train/output/lock.js')
const { freeSystemMemory } = await load('system/memory.js')
const { loadTokenizer } = await load('index.js')

assert.equal(process.platform, 'win32')
assert.ok(freeSystemMemory() > 2 ** 20)

// A file that is open is replaced; whoever reads it goes on with the former one.
mkdirSync('Größe 1')
const file = 'Größe 1\\ein Text.txt'
await writeFileAtomic(file, 'former')
const open = openSync(file, 'r')
await writeFileAtomic(file, 'new')
assert.deepEqual([readFileSync(file, 'utf8'), readFileSync(open, 'utf8')], ['new', 'former'])
closeSync(open)
assert.deepEqual(readdirSync('Größe 1'), ['ein Text.txt'])

// A folder is replaced whole, at any length of its path.
const long = resolve(...Array.from({ length: 6 }, (_, i) => `${i}`.repeat(60)))
for (const name of ['x', 'y']) await replaceFolder(long, async (folder) => writeFileSync(join(folder, name), name))
assert.ok(long.length > 260)
assert.deepEqual(readdirSync(long), ['y'])

// One run at a time writes to a folder.
const lock = lockFolder('out')
assert.throws(() => lockFolder('out'), { code: 'locked' })
lock.release()
lockFolder('out').release()

// The tokenizer's process, of a name with letters beyond ASCII.
const tokenizer = await loadTokenizer(join(root, 'assets', 'demo-model'))
const ids = await tokenizer.encode('Grüße\r\n')
assert.ok(ids.length > 3)
console.log('all is well')
process.exit(0)
