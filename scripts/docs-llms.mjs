/**
 * Writes llms.txt, an index of the documentation for language models (https://llmstxt.org), and llms-full.txt, the text of its
 * pages. Sections and pages are those of docs/README.md, and links are relative to the package's folder.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path) => readFileSync(join(root, path), 'utf8')

/** Tables of measurements, which only the index has. */
const isAppendix = (page) => page.startsWith('docs/appendix/')

/** Returns the text of both files by name. */
export function llmsFiles() {
  const { name, description } = JSON.parse(read('package.json'))
  const sections = [
    { title: 'Overview', pages: ['README.md', 'skills/mora/SKILL.md'] },
    ...sectionsOf('docs/README.md'),
  ].map(({ title, pages }) => ({ title, pages: pages.filter((page) => !isAppendix(page)) }))
  const optional = sectionsOf('docs/README.md').flatMap(({ pages }) => pages.filter(isAppendix))
  const lists = [...sections, { title: 'Optional', pages: optional }].map(
    ({ title, pages }) => `## ${title}\n\n${pages.map(entryOf).join('\n')}`,
  )
  const head = `# ${name}\n\n> ${description}`
  const index = [
    head,
    'The text of these pages, but for the optional ones, is in llms-full.txt beside this file.',
    ...lists,
  ]
  const texts = sections.flatMap(({ pages }) => pages.map(textOf))
  return { 'llms.txt': `${index.join('\n\n')}\n`, 'llms-full.txt': `${[head, ...texts].join('\n\n')}\n` }
}

/** Returns the rows of a page's table: the title in bold type, and the pages that it links to and no earlier row has. */
function sectionsOf(page) {
  const seen = new Set()
  return [...read(page).matchAll(/^\| \*\*(.+?)\*\* \|(.*)$/gm)].map(([, title, row]) => {
    const links = [...row.matchAll(/\]\(([^)#\s]+)/g)].map(([, link]) => rooted(link, page))
    return { title, pages: links.filter((path) => !seen.has(path) && seen.add(path)) }
  })
}

function entryOf(page) {
  const title = /^(?:# |name: )(.+)$/m.exec(read(page))?.[1]
  return `- [${title}](${page})${summaryOf(page)}`
}

/** Returns the description in a page's front matter, or its first sentence before any section, as plain text after a colon. */
function summaryOf(page) {
  const [top = ''] = read(page)
    .replace(/^```[\s\S]*?^```$/gm, '')
    .split(/^## /m)
  const paragraph = top.split(/\n\s*\n/).find((one) => /^[\p{L}`[]/u.test(one))
  const text = /^description: (.+)$/m.exec(top)?.[1] ?? paragraph?.split(/(?<=\.)\s/)[0]
  if (text === undefined) return ''
  const plain = text
    .replace(/\[([^\]]+)\]\([^)]+\)/g, '$1')
    .replace(/\*\*/g, '')
    .replace(/\s+/g, ' ')
  return `: ${plain.trim().replace(/:$/, '.')}`
}

/** Returns a page with links from the package's folder, without the comments that tests and scripts read. */
function textOf(page) {
  const parts = read(page)
    .replace(/^<!-- .* -->\n+/gm, '')
    .split(/(^```[\s\S]*?^```$)/m)
  const linked = parts.map((part, i) =>
    i % 2 === 1 ? part : part.replace(/\]\(([^)\s]+)\)/g, (_, link) => `](${rooted(link, page)})`),
  )
  return `<!-- ${page} -->\n\n${linked.join('').trim()}`
}

/** Returns a link of a page as a link from the package's folder. */
function rooted(link, page) {
  if (/^[a-z]+:/.test(link)) return link
  return link.startsWith('#') ? page + link : normalize(join(dirname(page), link))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(llmsFiles())) writeFileSync(join(root, name), text)
}
