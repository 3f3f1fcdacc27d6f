/** Files for coding agents: llms.txt, llms-full.txt and the skill. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { llmsFiles } from '../../scripts/docs-llms.mjs'
import { pages, root } from './blocks.ts'
import { brokenLinks } from './links.ts'

const SKILL = 'skills/mora/SKILL.md'

describe('llms.txt and llms-full.txt', () => {
  const files = llmsFiles()
  const index = files['llms.txt']
  const full = files['llms-full.txt']

  it('have every page of the documentation but its index, and tables of measurements only in the first', () => {
    const listed = [...index.matchAll(/^- \[[^\]]+\]\(([^)]+)\)/gm)].map(([, page]) => page)
    const documented = pages.filter((page) => page.startsWith('docs/') && page !== 'docs/README.md')
    expect(listed.toSorted()).toEqual(['README.md', 'CONTRIBUTING.md', SKILL, ...documented].toSorted())
    const contained = [...full.matchAll(/^<!-- (\S+\.md) -->$/gm)].map(([, page]) => page)
    expect(contained.toSorted()).toEqual(listed.filter((page) => !page.startsWith('docs/appendix/')).toSorted())
  })

  it('begin with the name and a summary, and say in the index what a page is about', () => {
    for (const text of [index, full]) expect(text).toMatch(/^# node-mora\n\n> \S.+\n\n/)
    expect(index).toContain(
      '- [Getting started](docs/getting-started.md): From an empty folder to a model fine-tuned on your data.\n',
    )
    expect(index).toContain(`- [mora](${SKILL}): Fine-tunes language models with node-mora`)
  })

  it('have links that lead to files and headings', () => {
    expect(Object.entries(files).flatMap(([name, text]) => brokenLinks(root, name, text))).toEqual([])
    expect(/^<!-- not run/m.test(full)).toBe(false)
  })

  it('are made for every package', () => {
    const { files: packed, scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
    expect(packed).toEqual(expect.arrayContaining([...Object.keys(files), 'skills']))
    expect(scripts.prepack).toContain('docs-llms.mjs')
  })
})

it('the skill says in its front matter what it is for, within the limits of agents', () => {
  const text = readFileSync(join(root, SKILL), 'utf8')
  const [, name, description] = /^---\nname: (.+)\ndescription: (.+)\n---\n/.exec(text) ?? []
  expect(name).toBe('mora')
  expect(description.length).toBeLessThanOrEqual(1024)
  expect(text.split('\n').length).toBeLessThan(500)
})
