import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { hubSettings } from '../../lib/hub/settings.js'
import { fileOf, useTemporaryFolder } from '../io/temporary.js'

const temporary = useTemporaryFolder()

describe('the hub’s settings', () => {
  test('put the cache in the folder of Python’s tools', () => {
    const cacheOf = (environment: Record<string, string>) => hubSettings(false, environment).cache
    expect(cacheOf({})).toBe(join(homedir(), '.cache/huggingface/hub'))
    expect(cacheOf({ XDG_CACHE_HOME: '/x' })).toBe('/x/huggingface/hub')
    expect(cacheOf({ XDG_CACHE_HOME: '/x', HF_HOME: '~/h' })).toBe(join(homedir(), 'h/hub'))
    expect(cacheOf({ HF_HOME: '/h', HF_HUB_CACHE: '/c' })).toBe('/c')
  })

  test('take the token from a variable, else from the file that "hf auth login" writes', () => {
    const folder = temporary()
    mkdirSync(join(folder, 'home'))
    fileOf(folder, 'home/token', 'hf_file\n')
    const other = fileOf(folder, 'other', 'hf_other')
    const home = { HF_HOME: join(folder, 'home') }
    const tokenOf = (environment: Record<string, string>) => hubSettings(false, environment).token
    expect(tokenOf({ HF_HOME: folder })).toBeNull()
    expect(tokenOf(home)).toBe('hf_file')
    expect(tokenOf({ ...home, HF_TOKEN_PATH: other })).toBe('hf_other')
    expect(tokenOf({ ...home, HUGGING_FACE_HUB_TOKEN: 'hf_old' })).toBe('hf_old')
    expect(tokenOf({ ...home, HUGGING_FACE_HUB_TOKEN: 'hf_old', HF_TOKEN: ' hf_new ' })).toBe('hf_new')
    expect(tokenOf({ ...home, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' })).toBeNull()
  })

  test('refuse a malformed token without repeating it', () => {
    expect(() => hubSettings(false, { HF_TOKEN: 'hf_se cret' })).toThrow(
      /^The hub token \(HF_TOKEN or .*\) contains invalid characters/,
    )
    expect(() => hubSettings(false, { HF_TOKEN: 'hf_se cret' })).not.toThrow(/se cret/)
  })

  test('accept another endpoint, and refuse a malformed one', () => {
    expect(hubSettings(false, {}).endpoint).toBe('https://huggingface.co')
    expect(hubSettings(false, { HF_ENDPOINT: 'https://mirror.example/hub/' }).endpoint).toBe(
      'https://mirror.example/hub',
    )
    expect(() => hubSettings(false, { HF_ENDPOINT: 'mirror' })).toThrow(/HF_ENDPOINT but received "mirror"/)
    expect(() => hubSettings(false, { HF_ENDPOINT: 'https://me:pass@mirror' })).toThrow(/must not contain a user name/)
    expect(() => hubSettings(false, { HF_ENDPOINT: 'https://me:pass@mirror' })).not.toThrow(/me:pass/)
  })

  test('are offline if an option or a variable says so', () => {
    expect(hubSettings(false, {}).offline).toBe(false)
    expect(hubSettings(true, {}).offline).toBe(true)
    for (const value of ['1', 'true', 'YES', 'on'])
      expect(hubSettings(false, { HF_HUB_OFFLINE: value }).offline).toBe(true)
    expect(hubSettings(false, { TRANSFORMERS_OFFLINE: '1' }).offline).toBe(true)
    expect(hubSettings(false, { HF_HUB_OFFLINE: '0' }).offline).toBe(false)
  })

  test('give up on silence after half a minute, or after a given time', () => {
    expect(hubSettings(false, {}).timeout).toBe(30_000)
    expect(hubSettings(false, { HF_HUB_DOWNLOAD_TIMEOUT: '2.5' }).timeout).toBe(2500)
    expect(() => hubSettings(false, { HF_HUB_DOWNLOAD_TIMEOUT: 'soon' })).toThrow(
      /HF_HUB_DOWNLOAD_TIMEOUT but received "soon"/,
    )
  })
})
