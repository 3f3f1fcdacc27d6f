// Simulated machines: network namespaces, each with an address and a link of given speed to a switch.
// Needs root and iproute2.
import { execFileSync } from 'node:child_process'

/** @typedef {{ mbit: number, milliseconds: number }} Shape of a link: its rate, and the delay of what is sent */

const prefix = `mora-bench-${process.pid}`
/** Addresses of a network that nobody else uses. */
const address = (i) => `10.0.0.${i + 1}`

function run(command, ...words) {
  try {
    return execFileSync(command, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    throw new Error(`${command} says: ${String(error.stderr || error.message).trim()}`)
  }
}

/** The rule of tc that gives a link its shape; a delay needs the kernel's netem. */
const ruleOf = ({ mbit, milliseconds }) =>
  milliseconds > 0
    ? ['netem', 'rate', `${mbit}mbit`, 'delay', `${milliseconds}ms`, 'limit', '100000']
    : ['tbf', 'rate', `${mbit}mbit`, 'burst', '64kb', 'latency', '1000ms']

/** A number of machines. `close` removes them; so does the end of the process. */
export class Machines {
  #spaces = []

  /**
   * @param {number} count
   * @param {Shape} shape of each link
   */
  constructor(count, shape) {
    process.once('exit', this.close)
    const hub = `${prefix}-hub`
    try {
      this.#add(hub)
      run('ip', '-n', hub, 'link', 'add', 'switch', 'type', 'bridge')
      run('ip', '-n', hub, 'link', 'set', 'switch', 'up')
      this.places = Array.from({ length: count }, (_, i) => {
        const space = `${prefix}-${i}`
        this.#add(space)
        run('ip', '-n', space, 'link', 'add', 'wire', 'type', 'veth', 'peer', 'name', `port${i}`, 'netns', hub)
        run('ip', '-n', hub, 'link', 'set', `port${i}`, 'master', 'switch', 'up')
        run('ip', '-n', space, 'address', 'add', `${address(i)}/24`, 'dev', 'wire')
        run('ip', '-n', space, 'link', 'set', 'wire', 'up')
        run('tc', '-n', space, 'qdisc', 'add', 'dev', 'wire', 'root', ...ruleOf(shape))
        return { address: address(i), through: ['ip', 'netns', 'exec', space] }
      })
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Bytes sent by each machine so far, headers included. */
  bytesSent() {
    return this.places.map(({ through: [command, ...words] }) =>
      Number(run(command, ...words, 'cat', '/sys/class/net/wire/statistics/tx_bytes')),
    )
  }

  close = () => {
    process.off('exit', this.close)
    for (const space of this.#spaces.splice(0)) run('ip', 'netns', 'delete', space)
  }

  #add(space) {
    run('ip', 'netns', 'add', space)
    this.#spaces.push(space)
    run('ip', '-n', space, 'link', 'set', 'lo', 'up')
  }
}

/**
 * Returns why links of this shape are impossible here, or null.
 * @param {Shape} shape
 */
export function whyNoMachines(shape) {
  try {
    new Machines(1, shape).close()
    return null
  } catch (error) {
    return error.message
  }
}
