/** Settings of the hub (address, cache and token), from the variables that Hugging Face's tools read. */
import { homedir } from 'node:os'
import { join } from 'node:path'
import { UsageError } from '../common/errors.js'
import { readTextSync } from '../io/open.js'

export interface HubSettings {
  /** Address of the hub, without a slash at its end. */
  readonly endpoint: string
  /** Folder of the cache, shared with Python's huggingface_hub. */
  readonly cache: string
  /** Access token, never printed, and sent to the endpoint's own host only. */
  readonly token: string | null
  /** Use only the cache, without the network. */
  readonly offline: boolean
  /** Milliseconds without a byte after which a connection counts as lost. */
  readonly timeout: number
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Reads `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE` and
 * `HF_HUB_DOWNLOAD_TIMEOUT`.
 * @throws UsageError `bad-value` that names the variable but never repeats a token
 */
export function hubSettings(offline = false, environment: Environment = process.env): HubSettings {
  const home = homeOf(environment)
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE } = environment
  return {
    endpoint: endpointOf(environment),
    cache: expanded(HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(home, 'hub')),
    token: tokenOf(environment, home),
    offline: offline || isTrue(HF_HUB_OFFLINE || TRANSFORMERS_OFFLINE),
    timeout: timeoutOf(environment),
  }
}

function homeOf({ HF_HOME, XDG_CACHE_HOME }: Environment): string {
  return expanded(HF_HOME || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface'))
}

function expanded(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path
}

function isTrue(value: string | undefined): boolean {
  return ['1', 'ON', 'YES', 'TRUE'].includes((value ?? '').toUpperCase())
}

function endpointOf({ HF_ENDPOINT }: Environment): string {
  const endpoint = HF_ENDPOINT?.trim() || 'https://huggingface.co'
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new UsageError('bad-value', `Expected an http or https address for HF_ENDPOINT but received "${endpoint}".`)
  }
  if (url.username !== '' || url.password !== '') {
    throw new UsageError(
      'bad-value',
      'HF_ENDPOINT must not contain a user name or password: set a token with HF_TOKEN.',
    )
  }
  return endpoint.replace(/\/+$/, '')
}

function tokenOf(environment: Environment, home: string): string | null {
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_HUB_DISABLE_IMPLICIT_TOKEN } = environment
  if (isTrue(HF_HUB_DISABLE_IMPLICIT_TOKEN)) return null
  const file = HF_TOKEN_PATH ? expanded(HF_TOKEN_PATH) : join(home, 'token')
  const token = (HF_TOKEN || HUGGING_FACE_HUB_TOKEN || readIfThere(file)).trim()
  if (token === '') return null
  if (/^[\x21-\x7e]+$/.test(token)) return token
  throw new UsageError('bad-value', `The hub token (HF_TOKEN or ${file}) contains invalid characters.`)
}

function readIfThere(path: string): string {
  try {
    return readTextSync(path)
  } catch {
    return ''
  }
}

function timeoutOf({ HF_HUB_DOWNLOAD_TIMEOUT: given }: Environment): number {
  if (!given) return 30_000
  const seconds = Number(given)
  if (seconds > 0 && seconds <= 86_400) return seconds * 1000
  throw new UsageError(
    'bad-value',
    `Expected a number of seconds above 0 for HF_HUB_DOWNLOAD_TIMEOUT but received "${given}".`,
  )
}
