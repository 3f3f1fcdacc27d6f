/** The part of node:sqlite that is used, which the types of Node.js 20 lack. */
declare module 'node:sqlite' {
  type Value = string | number | bigint | null | Uint8Array

  export class DatabaseSync {
    constructor(path: string, options?: { readOnly?: boolean })
    exec(sql: string): void
    prepare(sql: string): {
      run(...values: Value[]): unknown
      all(...values: Value[]): Record<string, Value>[]
    }
    close(): void
  }
}
