import { lora, mora, operators } from 'node-mora'

/** Parses `lora:8`, or an operator of MoRA with its rank such as `rotation:8`. */
export function parseMethod(text) {
  const [name, rank] = [text.split(':')[0], Number(text.split(':')[1] ?? 8)]
  if (name !== 'lora' && !operators.includes(name)) {
    throw new Error(
      `Expected lora:RANK or one of ${operators.join(', ')} with :RANK for a method but received ${text}.`,
    )
  }
  if (!Number.isInteger(rank) || rank < 1) throw new Error(`Expected a positive rank in ${text}.`)
  return { name, rank, label: `${name} r=${rank}` }
}

/** The adapter's configuration for `model.addAdapter`. */
export function adapterConfig({ name, rank }) {
  return name === 'lora' ? lora({ rank }) : mora({ rank, operator: name })
}
