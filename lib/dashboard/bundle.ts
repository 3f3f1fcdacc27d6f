/** Bundles the page's modules: a page that is a single file cannot import others. */

export interface PageModule {
  /** Its file name; others import it as `./NAME`. */
  name: string
  code: string
}

const IMPORT = /^import \{([^}]+)\} from '\.\/([^']+)'$/gm
const EXPORT = /^export (?=(?:async )?(?:function|class|const) (\w+))/gm

/**
 * Turns each module into a function that is called in order and returns the module's exports. It supports only the forms that
 * the page uses: named imports from earlier modules, and exported functions, classes and constants.
 */
export function bundleModules(modules: readonly PageModule[]): string {
  const known = new Set<string>()
  const parts = modules.map(({ name, code }) => {
    const exported: string[] = []
    const body = code
      .replace(IMPORT, (_, names: string, from: string) => {
        if (!known.has(from)) throw new Error(`${name} imports ${from}, which does not come before it.`)
        return `const {${names}} = modules['${from}']`
      })
      .replace(EXPORT, (_, exportedName: string) => {
        exported.push(exportedName)
        return ''
      })
    if (/^(?:import|export) /m.test(body)) throw new Error(`${name} has an import or export of another form.`)
    known.add(name)
    return `modules['${name}'] = await (async () => {\n${body}\nreturn { ${exported.join(', ')} }\n})()`
  })
  return ['const modules = {}', ...parts].join('\n')
}
