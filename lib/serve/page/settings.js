/** The settings of requests: which models answer, and how. */
import { byId, element, KeyedChildren } from '../../dashboard/page/elements.js'

/** Number of models that are chosen at first: the base and an adapter. */
const FIRST = 2
/** Number of tokens that are told beside each token. */
const TOP = 5

const form = byId('settings', HTMLFormElement)
const [system, tools, schema] = ['system', 'tools', 'schema'].map((id) => byId(id, HTMLTextAreaElement))
const logprobs = byId('logprobs', HTMLInputElement)
const raw = byId('raw', HTMLInputElement)
/** @type {readonly (readonly [parameter: string, id: string])[]} */
const NUMBERS = [
  ['temperature', 'temperature'],
  ['top_p', 'top-p'],
  ['max_tokens', 'max-tokens'],
  ['seed', 'seed'],
]

/** @type {string[]} */
let known = []
const boxes = new KeyedChildren(byId('models', HTMLElement), (name) => {
  const box = element('input', { type: 'checkbox', value: name })
  box.addEventListener('change', () =>
    history.replaceState(null, '', `#${chosenModels().map(encodeURIComponent).join('&')}`),
  )
  return element('li', {}, element('label', { class: 'check' }, box, name))
})

/** @returns {HTMLInputElement[]} */
const inputs = () => [...byId('models', HTMLElement).querySelectorAll('input')]

export const chosenModels = () => inputs().flatMap((box) => (box.checked ? [box.value] : []))

/** @param {readonly string[]} names of the models, the base first */
export function showModels(names) {
  const wanted = known.length > 0 ? chosenModels() : namesInAddress()
  const chosen = names.filter((name) => wanted.includes(name))
  known = [...names]
  boxes.update(known)
  for (const box of inputs()) box.checked = (chosen.length > 0 ? chosen : names.slice(0, FIRST)).includes(box.value)
}

function namesInAddress() {
  try {
    return location.hash.slice(1).split('&').map(decodeURIComponent)
  } catch {
    return []
  }
}

/**
 * @typedef {object} Settings
 * @property {string} system prompt
 * @property {boolean} raw whether a message is a text to continue, without a template and what was said before
 * @property {Record<string, unknown>} parameters of requests
 */

/**
 * Returns null, with the first wrong setting focused and its problem told, if requests cannot have these settings.
 * @returns {Settings | null}
 */
export function readSettings() {
  const [first] = inputs()
  first?.setCustomValidity(chosenModels().length > 0 ? '' : 'Choose a model.')
  const listed = jsonOf(tools, 'a JSON list of tools', Array.isArray)
  const shape = jsonOf(schema, 'a JSON schema, an object', (value) => value?.constructor === Object)
  const wrong = form.querySelector('details :invalid')
  if (wrong) byId('formats', HTMLDetailsElement).open = true
  if (!form.reportValidity()) return null
  const numbers = NUMBERS.map(([parameter, id]) => [parameter, byId(id, HTMLInputElement).value])
  return {
    system: system?.value ?? '',
    raw: raw.checked,
    parameters: {
      ...Object.fromEntries(numbers.flatMap(([name, value]) => (value === '' ? [] : [[name, Number(value)]]))),
      ...(raw.checked && byId('max-tokens', HTMLInputElement).value === '' && { max_tokens: -1 }),
      ...(logprobs.checked && (raw.checked ? { logprobs: TOP } : { logprobs: true, top_logprobs: TOP })),
      ...(listed !== undefined && { tools: listed }),
      ...(shape !== undefined &&
        (raw.checked
          ? { structured_outputs: { json: shape } }
          : { response_format: { type: 'json_schema', json_schema: { name: 'answer', schema: shape } } })),
    },
  }
}

/**
 * Returns the JSON of a field; undefined for an empty one, or a wrong one, which then says so.
 * @param {HTMLTextAreaElement | undefined} field
 * @param {string} expected
 * @param {(value: any) => boolean} isExpected
 */
function jsonOf(field, expected, isExpected) {
  field?.setCustomValidity('')
  if (!field || field.value.trim() === '') return undefined
  try {
    const value = JSON.parse(field.value)
    if (isExpected(value)) return value
    field.setCustomValidity(`Expected ${expected}.`)
  } catch (error) {
    field.setCustomValidity(`Expected ${expected}: ${error instanceof Error ? error.message : error}`)
  }
  return undefined
}
