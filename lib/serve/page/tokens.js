/** The tokens of an answer with their probabilities. */
import { element } from '../../dashboard/page/elements.js'

/** @typedef {import('./api.js').Token} Token */

/** Maximum number of rows. */
const MOST = 2_000

/**
 * @param {readonly Token[]} tokens
 * @param {string} name of the answer
 */
export function tokenTable(tokens, name) {
  const heads = ['Token', 'Probability', 'Likeliest'].map((title) => element('th', { scope: 'col' }, title))
  const table = element(
    'table',
    {},
    element('caption', { class: 'unseen' }, `Tokens of ${name}`),
    element('thead', {}, element('tr', {}, ...heads)),
    element('tbody', {}, ...tokens.slice(0, MOST).map(rowOf)),
  )
  const place = element('div', {
    class: 'scroll',
    tabindex: 0,
    role: 'region',
    'aria-label': `Tokens of ${name}, table`,
  })
  place.append(table)
  return place
}

/** @param {Token} token */
function rowOf({ token, logprob, top_logprobs: top }) {
  const probability = element('td', { class: 'probable' }, percent(logprob))
  probability.style.setProperty('--share', `${100 * Math.exp(logprob)}%`)
  const others = top.flatMap((one, i) => [i > 0 ? ', ' : '', shown(one.token), ` ${percent(one.logprob)}`])
  return element(
    'tr',
    { class: 'token' },
    element('th', { scope: 'row' }, shown(token)),
    probability,
    element('td', {}, ...others),
  )
}

/** Spaces and line ends of a token are visible. @param {string} token */
const shown = (token) => element('code', {}, JSON.stringify(token))

/** @param {number} logprob */
export function percent(logprob) {
  const share = 100 * Math.exp(logprob)
  return share > 0 && share < 0.1 ? '< 0.1 %' : `${share.toFixed(1)} %`
}
