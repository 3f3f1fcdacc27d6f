/** The contestants, by the names of the paper. Learning rates come with the experiment: four or more for each. */
export const full = (learningRates) => ({ name: 'full', options: { method: 'full' }, learningRates })

const adapter = (name, options) => (rank, learningRates, more) => ({
  name: `${name}, r = ${rank}`,
  options: { ...options, rank, ...more },
  learningRates,
})

export const lora = adapter('LoRA', { method: 'lora' })
export const loraPlus = adapter('LoRA+', { method: 'lora-plus' })
export const asyLora = adapter('AsyLoRA', { method: 'asylora' })
export const dora = adapter('DoRA', { method: 'dora' })
export const rotation = adapter('MoRA', { method: 'mora', operator: 'rotation' })
export const sharing = adapter('MoRA sharing', { method: 'mora', operator: 'sharing' })
export const mora = (operator) => adapter(`MoRA ${operator}`, { method: 'mora', operator })

/**
 * The contestants of the paper's fine-tuning: every method at a low rank, LoRA and MoRA also at a high one. AsyLoRA trains B
 * alone, so twice the rank is about the same budget.
 */
export const fineTuning = (low, high, rates) => [
  full(rates.full),
  lora(low, rates.adapter),
  loraPlus(low, rates.plus ?? rates.adapter),
  asyLora(2 * low, rates.adapter),
  dora(low, rates.adapter),
  rotation(low, rates.adapter),
  lora(high, rates.high ?? rates.adapter),
  sharing(high, rates.high ?? rates.adapter),
]
