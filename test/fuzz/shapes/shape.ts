import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** A way to fill a file, and its reader. */
export interface Shape {
  name: string
  /** Files of about `size` bytes together, by path. */
  files(bytes: number): Record<string, string | Uint8Array>
  /** Reads the files as a user would; may refuse them. */
  read(folder: string): Promise<unknown>
  /** The size in bytes from which such a file is refused. */
  most?: number
}

export function writeShape(folder: string, { files }: Shape, bytes: number): void {
  for (const [name, content] of Object.entries(files(bytes))) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
}

export type Fill = (bytes: number) => string | Uint8Array

/** One file in many shapes. */
export const shapes = (
  kind: string,
  file: string,
  read: Shape['read'],
  fills: Record<string, Fill>,
  most?: number,
): Shape[] =>
  Object.entries(fills).map(([name, fill]) => ({
    name: `${kind}: ${name}`,
    files: (bytes) => ({ [file]: fill(bytes) }),
    read,
    ...(most !== undefined && { most }),
  }))

export const repeated = (unit: string, bytes: number): string =>
  unit.repeat(Math.floor(bytes / Buffer.byteLength(unit)))

/** Repeats parts up to the size. */
export function numbered(bytes: number, part: (i: number) => string, between = ''): string {
  const parts: string[] = []
  for (let left = bytes; left > 0; left -= parts.at(-1)!.length + between.length) parts.push(part(parts.length))
  return parts.join(between)
}

export const json = JSON.stringify
