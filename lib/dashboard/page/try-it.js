/** Shows the command of a server for the chosen runs, and the address of its page. */
import { codeToCopy } from './code.js'
import { byId, element } from './elements.js'
import { serveCommand } from './serve-command.js'
import { state } from './state.js'

/** @typedef {import('./state.js').ShownRun} ShownRun */

/** Where `mora serve` listens by default. */
const SERVER = 'http://127.0.0.1:8080/'

/** @param {boolean} isReport of runs that may lie on another machine */
export function startTryIt(isReport) {
  const section = byId('try-section', HTMLElement)
  const place = byId('try', HTMLElement)
  let shown = ''
  return {
    /** @param {readonly ShownRun[]} runs */
    update(runs) {
      const found = isReport ? null : serveCommand(runs, state.list?.folder ?? '')
      section.hidden = !found
      if (!found || found.command === shown) return
      shown = found.command
      const address = `${SERVER}${found.names.length > 0 ? `#${found.names.map(encodeURIComponent).join('&')}` : ''}`
      place.replaceChildren(
        ...codeToCopy(found.command, 'Copy', 'Command of the server'),
        element('p', {}, 'Once it says that it is listening, chat at ', element('a', { href: address }, address), '.'),
      )
    },
  }
}
