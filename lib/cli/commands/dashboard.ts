import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { printable } from '../../common/printable.js'
import { DashboardSchema } from '../../options/index.js'
import { type CommandContext, defineCommand, OPTIONS_OF_MODELS } from '../command.js'
import { requireFolder } from '../paths.js'
import { interruptible } from '../terminal/interrupt.js'

export const dashboardCommand = defineCommand({
  name: 'dashboard',
  summary: 'show the runs of a folder in a browser, live',
  schema: DashboardSchema,
  idle: OPTIONS_OF_MODELS,
  positional: ['folder'],
  examples: ['mora dashboard', 'mora dashboard runs --port 8080 --open'],
  check({ folder }) {
    requireFolder('folder', folder)
  },
  async run({ folder, host, port, open, json }, context) {
    const { serveDashboard } = await import('../../dashboard/serve.js')
    const dashboard = await serveDashboard({ folder, host, port })
    const { url } = dashboard
    // Print the address at once: a program that waits for it cannot wait for the end.
    const { stdout } = context.terminal
    const { folder: shown, port: chosen } = dashboard
    const started = json
      ? JSON.stringify({ url, folder: shown, port: chosen })
      : `The runs in ${shown} are at ${url} until Ctrl-C`
    stdout.write(`${printable(started)}\n`)
    if (dashboard.isPublic) context.note(`anyone who can reach ${host} over the network can read these runs`)
    if (open) openInBrowser(url, context)
    const ending = new AbortController()
    await interruptible(
      () => once(ending.signal, 'abort'),
      () => ending.abort(),
    )
    await dashboard.close()
    return { json: undefined, text: '' }
  },
})

/** Opens an address with the system's own command; a missing browser is no reason to fail. */
function openInBrowser(url: string, { note }: CommandContext): void {
  const openers: Partial<Record<NodeJS.Platform, [string, ...string[]]>> = {
    darwin: ['open'],
    win32: ['cmd', '/c', 'start', ''],
  }
  const [command, ...before] = openers[process.platform] ?? ['xdg-open']
  const child = spawn(command, [...before, url], { detached: true, stdio: 'ignore' })
  child.on('error', () => note(`no browser could be opened (${command} is missing): go to ${url}`))
  child.unref()
}
