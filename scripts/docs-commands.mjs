/**
 * Writes the option tables of docs/commands, the forms of rows and the families of models, between markers, from the command
 * line's schemas and the tables of forms and families.
 * `--check` writes nothing and fails if a table is not current. Reads `dist`: run `npm run build lib` first.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const load = (name) => import(join(root, 'dist', name))
const { commands } = await load('cli/commands/index.js')
const { defaultWords, listedChoices, valueName } = await load('cli/parser.js')
const { ROW_FORMS } = await load('rows/kinds/index.js')
const { LOGGED_FORMS } = await load('rows/logged/index.js')
const { CommonOptionsSchema, optionDefault, optionFacts } = await load('options/index.js')
const { families } = await load('models/families/index.js')
const { flagOf } = await load('common/option-names.js')

const MARKED = /(<!-- (?:options|forms|families): [^\n]* -->\n)[\s\S]*?(<!-- end of (?:options|forms|families) -->)/
const common = CommonOptionsSchema.shape
/** Whether a command's option is that of every command, which functions of a loaded model may refuse. */
const isCommon = (key, option) =>
  Object.hasOwn(common, key) && optionFacts(common[key]).description === optionFacts(option).description

/** @param {[string, any]} option, @param {{ positional?: readonly string[] }} command */
function row([name, schema], { positional = [] }) {
  const facts = optionFacts(schema)
  const { description, placeholder, adds } = facts
  const names = [`${flagOf(name)}${valueName(facts).replace(/[<>]/g, '')}`]
  if (facts.kind === 'flag' && optionDefault(schema)) names.push(flagOf(name).replace('--', '--no-'))
  if (positional.includes(name)) names.unshift(placeholder)
  const choices = listedChoices(facts)
  const list = choices ? `: ${choices.map((choice) => `\`${choice}\``).join(', ')}` : ''
  const cells = [
    names.map((text) => `\`${text}\``).join(', '),
    `${description}${list}${adds ? '; may be repeated' : ''}`,
    defaultWords(facts, optionDefault(schema)) ?? '',
  ]
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('<', '&lt;')).join(' | ')} |`
}

/** Pages that describe options which other pages name only: all of titled groups, and four or more of others. */
const OWNERS = ['train', 'generate']
const rowsOfOwners = new Map(
  OWNERS.flatMap((name) => {
    const owner = commands.find((command) => command.name === name)
    return Object.entries(owner.schema.shape).map((entry) => [row(entry, owner), name])
  }),
)

function tables(entries, command = {}) {
  const groups = new Map()
  for (const entry of entries) {
    const { group = '' } = optionFacts(entry[1])
    groups.set(group, [...(groups.get(group) ?? []), entry])
  }
  return [...groups]
    .map(([group, options]) => {
      const isTitled = group !== '' && groups.size > 1
      const rows = options.map((entry) => row(entry, command))
      const shared = rows.filter((text) => rowsOfOwners.has(text) && !text.endsWith('| required |'))
      const isPlain = !command.name || OWNERS.includes(command.name) || (!isTitled && shared.length < 4)
      const elsewhere = isPlain ? [] : shared
      const own = rows.filter((text) => !elsewhere.includes(text))
      return [
        isTitled && `**${group.replace(/:$/, '')}**\n`,
        own.length > 0 && `| option | meaning | default |\n|---|---|---|\n${own.join('\n')}\n`,
        ...OWNERS.map((owner) => {
          const names = elsewhere
            .filter((text) => rowsOfOwners.get(text) === owner)
            .map((text) => text.split(' | ')[0].slice(2).replaceAll('\\|', '|'))
          return names.length > 0 && `As for [\`mora ${owner}\`](${owner}.md#options): ${names.join(', ')}.\n`
        }),
      ]
        .filter(Boolean)
        .join('\n')
    })
    .join('\n')
}

/** The forms of rows, each with its columns; a column with ? may be absent. */
function formsTable() {
  const rows = [...LOGGED_FORMS, ...ROW_FORMS].map(({ name, madeFor, use, columns, optional = {} }) => {
    const needed = Object.values(columns).flat()
    const more = Object.entries(optional)
      .flatMap(([part, names]) => (part === 'answer' ? [] : names))
      .filter((column) => !needed.includes(column))
    const names = [...needed, ...more.map((column) => `${column}?`)].map((column) => `\`${column}\``)
    return `| ${madeFor} | ${names.join(', ')} | ${name} | ${use} |`
  })
  return `| made for | columns | read as | trained |\n|---|---|---|---|\n${rows.join('\n')}\n`
}

/** The families, each with what it is published as. */
function familiesTable() {
  const code = (text) => `\`${text}\``
  const rows = families.map(({ modelType, published, gguf }) => {
    return `| ${published} | ${code(modelType)} | ${gguf ? code(gguf.architecture) : ''} |`
  })
  return `| published as | \`model_type\` | architecture in GGUF |\n|---|---|---|\n${rows.join('\n')}\n`
}

const pages = [
  { page: 'commands/README.md', content: tables(Object.entries(common)) },
  ...commands.map((command) => {
    const own = Object.entries(command.schema.shape).filter(([key, option]) => !isCommon(key, option))
    return { page: `commands/${command.name}.md`, content: tables(own, command) }
  }),
  { page: 'formats/data.md', content: formsTable() },
  { page: 'models.md', content: familiesTable() },
]

let stale = 0
for (const { page, content } of pages) {
  const path = join(root, 'docs', page)
  const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
  const written = text.replace(MARKED, (_, start, end) => `${start}\n${content}\n${end}`)
  if (text === '') report(`docs/${page} is missing.`)
  else if (written === text) continue
  else if (process.argv.includes('--check')) report(`docs/${page} is not current: npm run docs commands.`)
  else writeFileSync(path, written)
}
process.exitCode = stale > 0 ? 1 : 0

function report(message) {
  console.error(message)
  stale++
}
