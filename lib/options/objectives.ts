/** Options of objectives, collected from the files of the objectives. */
import { z } from 'zod'
import { BUILT_IN_OBJECTIVES } from '../objectives/index.js'
import { declare, type OptionFacts, optionFacts } from '../schema/option-facts.js'

type OwnFields = (typeof BUILT_IN_OBJECTIVES)[number]['schema']['shape']
type NameIn<Fields> = Fields extends unknown ? keyof Fields : never
type FieldIn<Fields, Name extends PropertyKey> = Fields extends { readonly [N in Name]: infer Field } ? Field : never
type ObjectiveFields = { [Name in NameIn<OwnFields>]: FieldIn<OwnFields, Name> }

/** An option as one objective declares it. */
interface Owned {
  readonly owner: string
  readonly field: z.ZodType
}

/** The options of all objectives; an option of several objectives accepts the values of each. */
export const objectiveFields = collected()

function collected(): ObjectiveFields {
  const byName = new Map<string, Owned[]>()
  for (const { name: owner, schema } of BUILT_IN_OBJECTIVES) {
    for (const [name, field] of Object.entries<z.ZodType>(schema.shape))
      byName.set(name, [...(byName.get(name) ?? []), { owner, field }])
  }
  return Object.fromEntries([...byName].map(([name, owned]) => [name, united(owned)])) as ObjectiveFields
}

/** Returns one option of the declarations of its owners. */
function united(owned: readonly Owned[]): z.ZodType {
  const all = owned.map(({ owner, field }) => ({ owner, field, ...optionFacts(field) }))
  const first = optionFacts(owned[0]!.field)
  const expects = eachOf(all, ({ expects }) => expects, ', or ')
  const inLibrary = eachOf(all, ({ expects, library }) => library?.expects ?? expects, ', or ')
  const choices = [...new Set(all.flatMap(({ choices }) => choices ?? []))]
  const fields = [...new Set(owned.map(({ field }) => field))]
  return declare(fields.length === 1 ? fields[0]!.clone() : z.union(fields), {
    ...first,
    description: eachOf(all, ({ description }) => description, '; '),
    expects,
    ...((first.library || inLibrary !== expects) && { library: { ...first.library, expects: inLibrary } }),
    ...(choices.length > 0 && { choices, placeholder: choices.join('|') }),
    defaultText: defaultOf(all),
    group: first.group ?? 'Objectives:',
    objectives: owned.map(({ owner }) => owner),
  })
}

type Declaration = OptionFacts & Owned

/** Returns the owners of each text, a text of more owners first. */
function ownersByText(
  all: readonly Declaration[],
  textOf: (declaration: Declaration) => string | undefined,
): [text: string, owners: string[]][] {
  const owners = new Map<string, string[]>()
  for (const declaration of all) {
    const text = textOf(declaration)
    if (text !== undefined) owners.set(text, [...(owners.get(text) ?? []), declaration.owner])
  }
  return [...owners].sort(([, a], [, b]) => b.length - a.length)
}

/** Returns the text that all declarations have, or else each text with its owners. */
function eachOf(all: readonly Declaration[], textOf: (declaration: Declaration) => string, separator: string): string {
  const texts = ownersByText(all, textOf)
  if (texts.length === 1) return texts[0]![0]
  return texts.map(([text, owners]) => `${text} (${owners.join(', ')})`).join(separator)
}

/** Returns the default that most objectives have, and the others with their owners. */
function defaultOf(all: readonly Declaration[]): string | undefined {
  const texts = ownersByText(all, ({ defaultText }) => defaultText)
  const [most, next] = texts
  const isUsual = most !== undefined && most[1].length > (next?.[1].length ?? 0)
  const named = texts.slice(isUsual ? 1 : 0).map(([text, owners]) => `${text} of ${owners.join(' and ')}`)
  return [...(isUsual ? [most[0]] : []), ...named].join('; ') || undefined
}
