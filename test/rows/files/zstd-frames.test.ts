/** Where Zstandard data is whole: after each frame, and nowhere else. */
import { describe, expect, it } from 'vitest'
import { ZstdFrames } from '../../../lib/rows/files/zstd-frames.js'

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'))
/** Three as zstd writes them, and two by hand. */
const frames = {
  plain: bytes('28b52ffd201abd0000887b2274657874223a2261227d0a62227d0a010050cc2f'),
  'with a checksum': bytes('28b52ffd241abd0000887b2274657874223a2261227d0a62227d0a010050cc2f8275550f'),
  repetitive: bytes('28b52ffd602c004d00001061610100272ac002'),
  'of raw and repeated bytes': bytes('28b52ffd0058100000616203080063'),
  skippable: bytes('5a2a4d180300000001ff02'),
}

/** The lengths at which data is whole, read in pieces of so many bytes. */
function wholeLengths(data: Uint8Array, piece: number): number[] {
  const found = new ZstdFrames()
  const lengths = found.isWhole ? [0] : []
  for (let at = 0; at < data.length; at += piece) {
    found.read(data.subarray(at, at + piece))
    if (found.isWhole) lengths.push(Math.min(at + piece, data.length))
  }
  return lengths
}

describe('Zstandard data is whole', () => {
  it.each(Object.entries(frames))('at the end of a frame: %s', (_, frame) => {
    expect(wholeLengths(frame, 1)).toEqual([0, frame.length])
    expect(wholeLengths(frame, 7)).toEqual([0, frame.length])
  })

  it('after each of several frames', () => {
    const all = Object.values(frames)
    const ends = all.map((_, i) => all.slice(0, i + 1).reduce((sum, { length }) => sum + length, 0))
    const data = Uint8Array.from(all.flatMap((frame) => [...frame]))
    expect(wholeLengths(data, 1)).toEqual([0, ...ends])
    expect(wholeLengths(data, data.length)).toEqual([0, data.length])
  })
})
