/** Code to copy. */
import { element, setText } from './elements.js'

/**
 * Returns a text with a button that copies it.
 * @param {string} code
 * @param {string} label of the button
 * @param {string} name of the text
 * @returns {HTMLElement[]}
 */
export function codeToCopy(code, label, name) {
  const text = element('pre', { class: 'code', tabindex: 0, role: 'region', 'aria-label': name }, code)
  const button = element('button', { type: 'button', class: 'button' }, label)
  const told = element('span', { class: 'note', role: 'status' })
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(code)
      setText(told, ' Copied.')
    } catch {
      // Without TLS, a page of another machine has no clipboard.
      getSelection()?.selectAllChildren(text)
      setText(told, ' Selected: copy it with the keyboard.')
    }
  })
  return [text, button, told]
}

/**
 * Quotes a text for a shell.
 * @param {string} text
 */
export function quoted(text) {
  return /^[\w./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
