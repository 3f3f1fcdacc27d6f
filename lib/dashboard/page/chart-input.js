/** Keyboard and touch input on a chart; uPlot handles the mouse. */

/** @typedef {import('uplot')} Plot */
/** @typedef {(range: [number, number] | null) => void} OnZoom */

/** The factor by which a key zooms in. */
const CLOSER = 2
/** Minimum distance of two fingers in pixels. */
const APART = 24

/**
 * Moves the cursor of a plot, or zooms, by a key; returns whether the key is used.
 * @param {Plot} plot
 * @param {KeyboardEvent} event
 * @param {OnZoom} onZoom
 */
export function pressKey(plot, event, onZoom) {
  const [places] = plot.data
  const { min = 0, max = 0 } = plot.scales.x ?? {}
  const isSeen = (/** @type {number} */ place) => place >= (min ?? place) && place <= (max ?? place)
  const [first, last] = [places.findIndex(isSeen), places.length - 1 - [...places].reverse().findIndex(isSeen)]
  const at = plot.cursor.idx ?? null
  const stride = event.shiftKey ? 10 : 1
  const wanted = {
    ArrowLeft: (at ?? last + 1) - stride,
    ArrowRight: (at ?? first - 1) + stride,
    Home: first,
    End: last,
  }[event.key]
  if (event.key === 'Escape') placeCursor(plot, -10)
  else if (event.key === '+' || event.key === '-') {
    const middle = (at === null ? undefined : places[at]) ?? ((min ?? 0) + (max ?? 0)) / 2
    const half = ((max ?? 0) - (min ?? 0)) / 2 / (event.key === '+' ? CLOSER : 1 / CLOSER)
    onZoom(within(plot, middle - half, middle + half))
  } else {
    const place = wanted === undefined ? undefined : places[Math.min(Math.max(wanted, first), last)]
    if (place === undefined) return false
    placeCursor(plot, plot.valToPos(place, 'x'))
  }
  return true
}

/**
 * One finger moves the cursor, two zoom: the value below each finger stays there. Vertical movement scrolls the page.
 * @param {Plot} plot
 * @param {OnZoom} onZoom
 */
export function bindTouch(plot, onZoom) {
  const { over } = plot
  /** Pixels from the left of the plot, and the value that was there at first. @type {Map<number, { x: number, value: number }>} */
  const fingers = new Map()
  over.addEventListener('pointerdown', (event) => {
    if (event.pointerType !== 'touch') return
    for (const finger of fingers.values()) finger.value = plot.posToVal(finger.x, 'x')
    const x = xOf(event)
    fingers.set(event.pointerId, { x, value: plot.posToVal(x, 'x') })
  })
  over.addEventListener('pointermove', (event) => {
    const finger = fingers.get(event.pointerId)
    if (!finger) return
    finger.x = xOf(event)
    if (fingers.size === 1) placeCursor(plot, finger.x)
    else pinch()
  })
  for (const end of /** @type {const} */ (['pointerup', 'pointercancel']))
    over.addEventListener(end, (event) => fingers.delete(event.pointerId))

  /** @param {PointerEvent} event */
  function xOf(event) {
    return event.clientX - over.getBoundingClientRect().left
  }

  function pinch() {
    const [left, right] = [...fingers.values()].sort((a, b) => a.value - b.value)
    if (!left || !right || right.x - left.x < APART) return
    const ofAPixel = (right.value - left.value) / (right.x - left.x)
    const from = left.value - left.x * ofAPixel
    onZoom(within(plot, from, from + over.clientWidth * ofAPixel))
  }
}

/**
 * Moves a range to where there is data; returns null if it covers all.
 * @param {Plot} plot
 * @param {number} from
 * @param {number} to
 * @returns {[number, number] | null}
 */
function within({ data: [places] }, from, to) {
  const [first, last] = [places[0] ?? 0, places.at(-1) ?? 0]
  const width = to - from
  // Allows for rounding.
  if (width > (last - first) * 0.9999) return null
  const start = Math.min(Math.max(from, first), last - width)
  return [start, start + width]
}

/**
 * Places the cursor in this plot and, like a mouse, in all plots that share its cursor.
 * @param {Plot} plot
 * @param {number} left
 */
function placeCursor(plot, left) {
  /** @type {(place: { left: number, top: number }, fire: boolean, share: boolean) => void} its last argument has no type */
  const place = plot.setCursor
  place({ left, top: left < 0 ? left : plot.over.clientHeight / 2 }, true, true)
}
