/** Makes one file of a page, its styles, its scripts and its icon. */
import { createHash } from 'node:crypto'

/** A page that needs no other file. */
interface OneFile {
  html: string
  /** Sources of its scripts and styles for a Content-Security-Policy, such as `'sha256-…'`. */
  scripts: string[]
  styles: string[]
}

/**
 * Puts the contents of a page's files in place of their names.
 * @param textOf returns the text of a file, by the name that the page has for it
 * @param data markup before the page's own script
 */
export function asOneFile(page: string, textOf: (name: string) => string, data = ''): OneFile {
  const [scripts, styles] = [[] as string[], [] as string[]]
  const hashed = (text: string, hashes: string[]) => {
    const content = `\n${text}\n`
    hashes.push(`'sha256-${createHash('sha256').update(content).digest('base64')}'`)
    return content
  }
  const html = textOf(page)
    .replace(
      /<link rel="icon" href="assets\/([^"]+)"/,
      (_, name: string) => `<link rel="icon" href="${dataUri(textOf(name))}"`,
    )
    .replace(
      /<link rel="stylesheet" href="assets\/([^"]+)">/g,
      (_, name: string) => `<style>${hashed(textOf(name), styles)}</style>`,
    )
    .replace(
      /<script src="assets\/([^"]+)" defer><\/script>/,
      (_, name: string) => `<script>${hashed(textOf(name), scripts)}</script>`,
    )
    .replace(/<script src="assets\/([^"]+)" type="module"><\/script>/, (_, name: string) => {
      return `${data}\n<script type="module">${hashed(bundleModules(name, textOf), scripts)}</script>`
    })
  return { html, scripts, styles }
}

function dataUri(svg: string): string {
  return `data:image/svg+xml,${encodeURIComponent(svg.trim())}`
}

// A page that is a single file cannot import modules.
const IMPORT = /^import \{([^}]+)\} from '\.[^']*\/([^'/]+)'$/gm
const EXPORT = /^export (?=(?:async )?(?:function\*?|class|const) (\w+))/gm

/**
 * Turns a module and all that it imports into functions that are called in order and return the module's exports. It supports
 * only the forms that the pages use: named imports of a path, whose file has a name of its own, and exported functions, classes
 * and constants.
 */
export function bundleModules(entry: string, codeOf: (name: string) => string): string {
  /** By name, each after its imports; null while these are added. */
  const parts = new Map<string, string | null>()
  const add = (name: string) => {
    if (parts.get(name) === null) throw new Error(`${name} imports itself through others.`)
    if (parts.has(name)) return
    parts.set(name, null)
    const exported: string[] = []
    const body = codeOf(name)
      .replace(IMPORT, (_, names: string, from: string) => {
        add(from)
        return `const {${names}} = modules['${from}']`
      })
      .replace(EXPORT, (_, exportedName: string) => {
        exported.push(exportedName)
        return ''
      })
    if (/^(?:import|export) /m.test(body)) throw new Error(`${name} has an import or export of another form.`)
    parts.delete(name)
    parts.set(name, `modules['${name}'] = await (async () => {\n${body}\nreturn { ${exported.join(', ')} }\n})()`)
  }
  add(entry)
  return ['const modules = {}', ...parts.values()].join('\n')
}
