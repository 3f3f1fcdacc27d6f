/** The colour and the dashes that identify a run everywhere on the page. */

/**
 * Numbers of colours and dashes that runs cycle through: 9 and 4 have no common divisor, so 36 runs in a row look different.
 */
const COLOURS = 9
export const DASHES = [[], [8, 4], [2, 3], [12, 4, 2, 4]]
export const LOOKS = COLOURS * DASHES.length

/**
 * Returns the custom property of a run's colour.
 * @param {number} number of the run, from 1
 */
export function colourOf(number) {
  return `--run-${((number - 1) % COLOURS) + 1}`
}

/** @param {number} number of the run, from 1 */
export function dashesOf(number) {
  return DASHES[(number - 1) % DASHES.length] ?? []
}

const SVG = 'http://www.w3.org/2000/svg'

/** Returns a piece of a run's line; `showLook` of a surrounding element sets its look. */
export function swatch() {
  const [drawing, line] = ['svg', 'line'].map((name) => document.createElementNS(SVG, name))
  for (const [name, value] of Object.entries({ class: 'swatch', viewBox: '0 0 24 4', 'aria-hidden': 'true' }))
    drawing?.setAttribute(name, value)
  for (const [name, value] of Object.entries({ x2: '24', y1: '2', y2: '2' })) line?.setAttribute(name, value)
  drawing?.append(line ?? '')
  return /** @type {Element} */ (drawing)
}

/**
 * @param {HTMLElement} place whose swatches get the look of the run
 * @param {number | null} number of the run; null for one that is not shown
 */
export function showLook(place, number) {
  if (number === null) {
    place.removeAttribute('data-number')
    place.style.removeProperty('--run')
    place.style.removeProperty('--dashes')
    return
  }
  place.dataset.number = String(number)
  place.style.setProperty('--run', `var(${colourOf(number)})`)
  place.style.setProperty('--dashes', dashesOf(number).join(' ') || 'none')
}
