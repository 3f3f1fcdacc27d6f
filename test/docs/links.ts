/** Links of Markdown pages to files and headings that do not exist. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Each broken link of a page below `root`, or of a text in its place, as `page: link`. Links to other sites are not followed. */
export function brokenLinks(root: string, page: string, text = readFileSync(join(root, page), 'utf8')): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, '')
  const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!)
  return links
    .filter((link) => !/^[a-z]+:/.test(link))
    .filter((link) => {
      const [path, anchor] = link.split('#') as [string, string | undefined]
      const file = path === '' ? join(root, page) : join(root, dirname(page), path)
      return !existsSync(file) || (anchor !== undefined && !anchors(file).has(anchor))
    })
    .map((link) => `${page}: ${link}`)
}

/** Names of headings as GitHub makes them: a second heading of the same name ends with -1. */
function anchors(file: string): Set<string> {
  const found = new Set<string>()
  for (const [, heading] of readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)) {
    const name = heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-')
    let anchor = name
    for (let count = 1; found.has(anchor); count++) anchor = `${name}-${count}`
    found.add(anchor)
  }
  return found
}
