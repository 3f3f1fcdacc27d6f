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

/** The options of all objectives; one that several objectives have takes the values of each. */
export const objectiveFields = collected()

function collected(): ObjectiveFields {
  const byName = new Map<string, Owned[]>()
  for (const { name: owner, schema } of BUILT_IN_OBJECTIVES) {
    for (const [name, field] of Object.entries<z.ZodType>(schema.shape))
      byName.set(name, [...(byName.get(name) ?? []), { owner, field }])
  }
  return Object.fromEntries([...byName].map(([name, owned]) => [name, united(owned)])) as ObjectiveFields
}

function united(owned: readonly Owned[]): z.ZodType {
  const all = owned.map(({ field }) => optionFacts(field))
  const first = all[0]!
  const textsOf = (textOf: (facts: OptionFacts) => string | undefined) =>
    owned.map(({ owner, field }) => ({ owner, text: textOf(optionFacts(field)) }))
  const expects = eachOf(
    textsOf((facts) => facts.expects),
    ', or ',
  )
  const inLibrary = eachOf(
    textsOf((facts) => facts.library?.expects ?? facts.expects),
    ', or ',
  )
  const choices = [...new Set(all.flatMap(({ choices }) => choices ?? []))]
  const fields = [...new Set(owned.map(({ field }) => field))]
  return declare(fields.length === 1 ? fields[0]!.clone() : z.union(fields), {
    ...first,
    description: eachOf(
      textsOf((facts) => facts.description),
      '; ',
    ),
    expects,
    ...((first.library || inLibrary !== expects) && { library: { ...first.library, expects: inLibrary } }),
    ...(choices.length > 0 && { choices, placeholder: choices.join('|') }),
    defaultText: defaultOf(textsOf((facts) => facts.defaultText)),
    group: first.group ?? 'Objectives:',
    objectives: owned.map(({ owner }) => owner),
  })
}

interface OwnText {
  readonly owner: string
  readonly text: string | undefined
}

/** Returns the owners of each text, a text of more owners first. */
function ownersByText(texts: readonly OwnText[]): [text: string, owners: string[]][] {
  const owners = new Map<string, string[]>()
  for (const { owner, text } of texts) if (text !== undefined) owners.set(text, [...(owners.get(text) ?? []), owner])
  return [...owners].sort(([, a], [, b]) => b.length - a.length)
}

/** Returns the one text, or each with its owners. */
function eachOf(texts: readonly OwnText[], separator: string): string {
  const all = ownersByText(texts)
  return all.length === 1 ? all[0]![0] : all.map(([text, owners]) => `${text} (${owners.join(', ')})`).join(separator)
}

/** Returns the default that most objectives have, and the others with their owners. */
function defaultOf(texts: readonly OwnText[]): string | undefined {
  const all = ownersByText(texts)
  const [most, next] = all
  const isUsual = most !== undefined && most[1].length > (next?.[1].length ?? 0)
  const named = all.slice(isUsual ? 1 : 0).map(([text, owners]) => `${text} of ${owners.join(' and ')}`)
  return [...(isUsual ? [most[0]] : []), ...named].join('; ') || undefined
}
