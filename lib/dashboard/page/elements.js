/** Creates and changes elements. Text is only ever set as text: the contents of a run cannot become markup. */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes] true: present; false, null: absent
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(name, value === true ? '' : String(value))
    }
  }
  made.append(...children)
  return made
}

/**
 * Returns the element of the page with this id.
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 */
export function byId(id, kind) {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new TypeError(`The page has no ${kind.name} #${id}.`)
  return found
}

/**
 * Changes a text only if it differs, so that a screen reader announces real changes only.
 * @param {Element} target
 * @param {string} text
 */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text
}

/**
 * Keeps one element for each key, created once and in the order of the keys.
 * @template {Element} Kind
 */
export class KeyedChildren {
  /** @type {Map<string, Kind>} */
  #made = new Map()

  /**
   * @param {Element} parent
   * @param {(key: string) => Kind} make
   */
  constructor(parent, make) {
    this.parent = parent
    this.make = make
  }

  /**
   * @param {readonly string[]} keys
   * @param {number} first place of these among all children
   * @returns {Kind[]}
   */
  update(keys, first = 0) {
    for (const [key, child] of this.#made) {
      if (keys.includes(key)) continue
      child.remove()
      this.#made.delete(key)
    }
    return keys.map((key, i) => {
      const place = first + i
      const child = this.#made.get(key) ?? this.make(key)
      this.#made.set(key, child)
      // Moving an element would remove the focus from it.
      if (this.parent.children[place] !== child) this.parent.insertBefore(child, this.parent.children[place] ?? null)
      return child
    })
  }
}
