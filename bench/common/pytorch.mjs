// PyTorch as the other side of a comparison: a script of bench/pytorch in a process of its own.
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { SideProcess } from './side-process.mjs'

/** Settings of glibc with which freed blocks stay in the process instead of being faulted in again each time. */
const tunedMalloc = { MALLOC_MMAP_MAX_: '0', MALLOC_TRIM_THRESHOLD_: '-1', MALLOC_TOP_PAD_: '67108864' }

/** Methods that bench/pytorch implements; PEFT implements the first. */
export const pytorchMethods = ['lora', 'rotation', 'sharing']

/** What a line of Python prints, or null where the interpreter lacks something that it imports. */
function printed(python, code) {
  try {
    return execFileSync(python, ['-c', code], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return null
  }
}

/** PyTorch's version, or null where the interpreter has none. */
export const pytorchVersion = (python) => printed(python, 'import numpy, torch; print(torch.__version__)')

/** Versions of transformers and PEFT, or null where the interpreter lacks one of them. */
export const peftVersions = (python) =>
  printed(
    python,
    'import transformers, peft; print(f"transformers {transformers.__version__}, PEFT {peft.__version__}")',
  )

/** TRL's version, or null where the interpreter lacks it or what it needs. */
export const trlVersion = (python) =>
  printed(python, 'import datasets, peft, torch, transformers, trl; print(trl.__version__)')

export const lacksPeftNote = (python) =>
  `The strongest PyTorch, transformers with PEFT, was not measured: ${python} cannot import both. Install them beside ` +
  'torch (pip install transformers peft), or name another interpreter with --python.'

/**
 * Returns `[command, arguments, environment]` of a script with its task. `tuned`: with the allocator tuned for PyTorch.
 * @param {string} script
 * @param {object} task
 * @param {{ python: string, blas?: string, allocator?: string }} options
 * @param {boolean} [tuned]
 * @returns {import('./side-process.mjs').Command}
 */
export function pytorchCommand(script, task, { python, blas, allocator }, tuned) {
  const path = fileURLToPath(new URL(`../pytorch/${script}`, import.meta.url))
  return [
    python,
    [path, JSON.stringify(task)],
    {
      PYTHONDONTWRITEBYTECODE: '1',
      ...(blas && { LD_LIBRARY_PATH: blas }),
      ...(tuned && (allocator ? { LD_PRELOAD: allocator } : tunedMalloc)),
    },
  ]
}

export const pytorchProcess = (name, script, task, options, tuned) =>
  new SideProcess(name, ...pytorchCommand(script, task, options, tuned))

/** Starts a side; returns null, with a note, where its products would use a BLAS that makes the comparison worthless. */
export async function startPytorch(name, script, task, options, notes, tuned) {
  const side = pytorchProcess(name, script, task, options, tuned)
  const facts = await side.ready()
  // With default settings adapters are float32.
  if (!lacksBlas(facts) || !(task.dtype === 'float32' || task.best === false)) return side
  notes.add(lacksBlasNote(name, task.dtype))
  await side.stop()
  return null
}

/** Whether a side's float32 products are dozens of times slower than they could be. */
export const lacksBlas = ({ blas }) => blas !== undefined && !blas.some((path) => /openblas|mkl|blis/.test(path))

export const lacksBlasNote = (name, dtype) =>
  `${name} was left out in ${dtype}: its float32 products would use the reference BLAS, dozens of times slower than a ` +
  'tuned one. Install one (apt-get install libopenblas0-openmp), or name its folder with --blas.'

/** With a tuned allocator, and with default settings. */
const settings = [
  { name: 'PyTorch, best', tuned: true },
  { name: 'PyTorch', tuned: false },
]

/**
 * Starts PyTorch in its best setting and, unless `bestOnly` or quick, with default settings; starts nothing where PyTorch is
 * not installed or lacks a BLAS for float32. Appends what a reader should know to `notes`.
 */
export async function pytorchSides(script, task, options, notes, { bestOnly = false } = {}) {
  const sides = []
  for (const { name, tuned } of options.pytorch ? settings.slice(0, bestOnly || options.quick ? 1 : 2) : []) {
    const side = await startPytorch(name, script, task, options, notes, tuned)
    if (side) sides.push(side)
  }
  return sides
}

export async function stopAll(sides) {
  for (const side of sides) await side.stop()
}
