/** The options of a run, as its configuration shows them. */

/** @typedef {import('./state.js').ShownRun} ShownRun */

/**
 * @param {ShownRun} run
 * @param {string} wanted
 */
export function optionOf({ details }, wanted) {
  return details?.facts.find(({ group, name }) => group === 'options' && name === wanted)?.value
}
