/** Bundles the page's modules: a page that is a single file cannot import others. */

const IMPORT = /^import \{([^}]+)\} from '\.\/([^']+)'$/gm
const EXPORT = /^export (?=(?:async )?(?:function|class|const) (\w+))/gm

/**
 * Turns a module and all that it imports into functions that are called in order and return the module's exports. It supports
 * only the forms that the page uses: named imports of `./NAME`, and exported functions, classes and constants.
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
