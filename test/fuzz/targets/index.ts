/** All kinds of files that are read, and how many cases each has by default: 2,000 together. */
import type { Lack } from '../../needs.js'
import type { Target } from '../cases.js'
import { adapterTarget } from './adapter.js'
import { checkpointTarget } from './checkpoint.js'
import { dataTarget } from './data.js'
import { importanceTarget } from './importance.js'
import { configTarget, ggufPartsTarget, ggufTarget, safetensorsTarget, shardsTarget, tokenizerTarget } from './model.js'
import { ollamaTarget } from './ollama.js'
import { optionsTarget } from './options.js'
import { lacksOtherSets, otherQuantisedTarget, quantisedTarget } from './quantised.js'
import { templateTarget } from './template.js'

export const targets: [name: string, cases: number, make: () => Promise<Target>, lacks?: Lack][] = [
  ['safetensors', 200, safetensorsTarget],
  ['shards', 50, shardsTarget],
  ['config', 200, configTarget],
  ['gguf', 150, ggufTarget],
  ['gguf-parts', 50, ggufPartsTarget],
  ['ollama', 50, ollamaTarget],
  ['quantised', 40, quantisedTarget],
  ['quantised-others', 60, otherQuantisedTarget, lacksOtherSets],
  ['importance', 50, importanceTarget],
  ['tokenizer', 250, tokenizerTarget],
  ['template', 150, templateTarget],
  ['adapter', 250, adapterTarget],
  ['checkpoint', 150, checkpointTarget],
  ['data', 250, dataTarget],
  ['options', 100, optionsTarget],
]
