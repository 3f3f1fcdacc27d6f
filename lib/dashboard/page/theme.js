/** Light and dark: follows the system until the user switches. */
import { byId } from './elements.js'

const KEY = 'mora-theme'
/** Computed colours, cached until the theme changes, since computing them is slow. @type {Map<string, string>} */
const colours = new Map()
const system = matchMedia('(prefers-color-scheme: dark)')

/** Returns the stored theme; a page opened as a file may have no storage. */
function remembered() {
  try {
    return localStorage.getItem(KEY)
  } catch {
    return null
  }
}

/** @param {string | null} theme */
function remember(theme) {
  try {
    if (theme === null) localStorage.removeItem(KEY)
    else localStorage.setItem(KEY, theme)
  } catch {
    // Without storage, the theme applies until the page is closed.
  }
}

/** @param {() => void} onChange */
export function startTheme(onChange) {
  const button = byId('theme', HTMLButtonElement)
  let chosen = remembered()
  const apply = () => {
    const isDark = chosen === null ? system.matches : chosen === 'dark'
    if (chosen === null) delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = chosen
    button.setAttribute('aria-pressed', String(isDark))
    colours.clear()
    onChange()
  }
  button.addEventListener('click', () => {
    const wanted = button.getAttribute('aria-pressed') === 'true' ? 'light' : 'dark'
    // Switching back to the system's theme means following the system again.
    chosen = wanted === (system.matches ? 'dark' : 'light') ? null : wanted
    remember(chosen)
    apply()
  })
  system.addEventListener('change', apply)
  apply()
}

/**
 * Returns a colour of the style sheet in a form that a canvas accepts.
 * @param {string} name of a custom property, as `--run-1`
 */
export function colour(name) {
  const known = colours.get(name)
  if (known !== undefined) return known
  const probe = document.documentElement
  probe.style.outlineColor = `var(${name})`
  const { outlineColor } = getComputedStyle(probe)
  probe.style.outlineColor = ''
  colours.set(name, outlineColor)
  return outlineColor
}
