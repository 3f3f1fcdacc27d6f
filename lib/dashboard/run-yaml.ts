/** Reads a run's `run.yaml`, its configuration, as lines to show and compare. */

import { asMessage } from '../common/printable.js'
import { isJsonObject } from '../io/json.js'
import { parseYaml } from '../io/yaml.js'
import type { RunDetails } from './payload.js'

interface ReadFacts {
  facts: RunDetails['facts']
  method: string | null
  totalSteps: number | null
  /** The problem that the run recorded at its end; null if there was none. */
  untrained: string | null
}

const none: ReadFacts = { facts: [], method: null, totalSteps: null, untrained: null }

/** Reads the text of a run.yaml; for any other text, returns no facts and the reason. */
export function readFacts(text: string): ReadFacts & { problem: string | null } {
  let content: unknown
  try {
    content = parseYaml(text)
  } catch (error) {
    return { ...none, problem: asMessage(`run.yaml is not YAML: ${(error as Error).message}`) }
  }
  if (!isJsonObject(content)) return { ...none, problem: 'run.yaml holds no options.' }
  const options = isJsonObject(content.options) ? content.options : {}
  const problem = isJsonObject(content.result) ? content.result.problem : undefined
  return {
    facts: Object.entries(content).flatMap(([group, value]) => factsOf(group, value)),
    method: [options.method, options.operator].filter((part) => typeof part === 'string').join(', ') || null,
    totalSteps: typeof options.maxSteps === 'number' ? options.maxSteps : null,
    untrained: problem === undefined ? null : asMessage(String(problem)),
    problem: null,
  }
}

function factsOf(group: string, value: unknown): RunDetails['facts'] {
  if (!isJsonObject(value)) return [{ group: 'run', name: group, value: shown(value) }]
  return Object.entries(value).map(([name, one]) => ({ group, name, value: shown(one) }))
}

function shown(value: unknown): string {
  if (typeof value === 'string') return value
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value.join(', ')
  return JSON.stringify(value) ?? ''
}
