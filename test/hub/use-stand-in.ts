import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'
import type { SnapshotOptions } from '../../lib/hub/index.js'
import type { HubSettings } from '../../lib/hub/settings.js'
import { StandIn } from './stand-in.js'

export const TOKEN = 'hf_theTokenThatNobodyMaySee'

export interface HubTest {
  standIn: StandIn
  cache: string
  /** Seconds of requested waits, which return at once. */
  waits: number[]
  warnings: string[]
  /** Options for this stand-in and cache; waits cost no time. */
  options: SnapshotOptions & { settings: HubSettings }
  /** Names of files anywhere below a folder of the cache. */
  namesIn: (...folder: string[]) => string[]
}

/** A stand-in of the hub and an empty cache for each test. */
export function useStandIn(): () => HubTest {
  let test: HubTest
  beforeEach(async () => {
    const standIn = await StandIn.start()
    const cache = mkdtempSync(join(tmpdir(), 'mora-hub-'))
    const [waits, warnings]: [number[], string[]] = [[], []]
    const settings = { endpoint: standIn.endpoint, cache, token: TOKEN, offline: false, timeout: 5000 }
    const options = {
      settings,
      pause: async (milliseconds: number) => void waits.push(milliseconds / 1000),
      onWarning: (message: string) => void warnings.push(message),
    }
    const namesIn = (...folder: string[]) => {
      try {
        return readdirSync(join(cache, ...folder), { recursive: true })
          .map(String)
          .sort()
      } catch {
        return []
      }
    }
    test = { standIn, cache, waits, warnings, options, namesIn }
  })
  afterEach(async () => {
    await test.standIn.stop()
    rmSync(test.cache, { recursive: true, force: true })
  })
  return () => test
}

/** One stand-in for all tests of a file, which this process's variables name; `home` is the cache's folder. */
export function useStandInByVariables(home: string): () => StandIn {
  const before = { ...process.env }
  let standIn: StandIn
  beforeAll(async () => {
    standIn = await StandIn.start()
  })
  beforeEach(() => {
    for (const name of Object.keys(process.env)) if (/^(HF_|HUGGING|TRANSFORMERS_)/.test(name)) delete process.env[name]
    Object.assign(process.env, { HF_ENDPOINT: standIn.endpoint, HF_HOME: home, HF_TOKEN: 'hf_secret' })
  })
  afterEach(() => {
    process.env = { ...before }
    standIn.mend()
  })
  afterAll(() => standIn.stop())
  return () => standIn
}
