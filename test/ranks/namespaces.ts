/** Two network namespaces with a cable between them, like two machines, each with an address of its own. */
import { spawnSync } from 'node:child_process'
import type { Lack } from '../needs.js'

const ip = (...argv: string[]) => spawnSync('ip', argv, { encoding: 'utf8' })

function must(...argv: string[]): void {
  const { status, stderr, error } = ip(...argv)
  if (status !== 0) throw new Error(`ip ${argv.join(' ')}: ${stderr ?? error?.message}`)
}

export class Namespaces {
  readonly names = [1, 2].map((i) => `mora-test-${process.pid}-${i}`)
  /** Addresses reserved for documentation, which nobody uses. */
  readonly addresses = ['192.0.2.1', '192.0.2.2'] as const

  constructor() {
    try {
      for (const name of this.names) must('netns', 'add', name)
      const [first, second] = this.names as [string, string]
      must('link', 'add', 'cable', 'netns', first, 'type', 'veth', 'peer', 'name', 'cable', 'netns', second)
      for (const [i, name] of this.names.entries()) {
        must('-n', name, 'address', 'add', `${this.addresses[i]}/24`, 'dev', 'cable')
        for (const link of ['lo', 'cable']) must('-n', name, 'link', 'set', link, 'up')
      }
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  /** The command that runs another in one of them. */
  through = (i: number): string[] => ['ip', 'netns', 'exec', this.names[i]!]

  /** Pulls the cable out. */
  part(): void {
    must('-n', this.names[1]!, 'link', 'set', 'cable', 'down')
  }

  [Symbol.dispose](): void {
    for (const name of this.names) ip('netns', 'del', name)
  }
}

export function lacksNamespaces(): Lack {
  try {
    new Namespaces()[Symbol.dispose]()
    return null
  } catch (error) {
    return `network namespaces: ${(error as Error).message.trim()}`
  }
}
