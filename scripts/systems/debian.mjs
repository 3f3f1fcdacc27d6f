/** A bare Debian made by debootstrap, with Node.js from npm, in which the README's two commands are run on a clone. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { installations, tryInstallations } from './installs.mjs'
import { folder, root, Skipped, Steps } from './steps.mjs'

const node = '22'
const npm = '10'

export function tryDebian(name, suite, { parts, shareCcache }) {
  const steps = new Steps(name)
  return steps.outcome(async () => {
    const { system, inside, remove } = await bareDebian(steps, suite)
    const inClone = (command) => inside(command, { folder: '/root/node-mora' })
    if (shareCcache)
      await steps.run('ccache', ['cp', '-a', says('ccache', '-k', 'cache_dir'), join(system, 'root', '.ccache')])
    await steps.run('clone', [
      'git',
      'clone',
      '--quiet',
      '--depth=1',
      `file://${root}`,
      join(system, 'root', 'node-mora'),
    ])
    if (parts.includes('install')) {
      const [archive] = JSON.parse(says('npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', folder))
      renameSync(join(folder, archive.filename), join(system, 'root', 'node-mora.tgz'))
      await tryInstallations(steps, { system, inside }, installations.tarball)
    }
    if (parts.includes('demo')) {
      const { output, minutes } = await steps.run('npm run demo', inClone(timed('npm run demo')))
      steps.tell(`npm run demo in ${minutes} minutes and ${coreSeconds(output)} core-seconds`)
    }
    if (parts.includes('test')) {
      const { output, minutes } = await steps.run('npm test', inClone('npm test'))
      steps.tell(`npm test in ${minutes} minutes: ${/^\d+ passed, .*$/m.exec(output)?.[0]}`)
    }
    remove()
  })
}

/** Wraps a shell's command so that its output ends with its processor time. */
const timed = (command) => `{ ${command}; status=$?; times; exit $status; }`

/** The seconds of processors that a shell's `times` names last: of its children, in user and system mode. */
function coreSeconds(output) {
  const [, ...times] = (/(\d+)m([\d.]+)s (\d+)m([\d.]+)s\s*$/.exec(output) ?? []).map(Number)
  const [userMinutes, userSeconds, systemMinutes, systemSeconds] = times
  return Math.round(60 * (userMinutes + systemMinutes) + userSeconds + systemSeconds)
}

/**
 * Makes a bare Debian with Node.js and npm beside the log of `steps`. Returns its folder, a function that wraps a shell's command
 * so that it runs inside, and one that removes the system.
 */
export async function bareDebian(steps, suite) {
  if (process.getuid?.() !== 0) throw new Skipped('debootstrap and chroot need root')
  for (const tool of ['debootstrap', 'unshare', 'git'])
    if (!says('sh', '-c', `command -v ${tool}`)) throw new Skipped(`there is no ${tool} here (apt-get install ${tool})`)
  const base = join(folder, `${suite}.base`)
  if (!existsSync(base)) await makeBase(steps, suite, base)

  const system = join(folder, steps.name)
  const remove = () => rmSync(system, { recursive: true, force: true })
  remove()
  await steps.run('copy', ['cp', '-a', base, system])
  // What commands inside see of this machine: npm's registry, proxies and trusted certificates.
  const certificates = process.env.NODE_EXTRA_CA_CERTS
  if (certificates) copyFileSync(certificates, join(system, 'opt', 'certificates.pem'))
  const own = {
    HOME: '/root',
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: 'C.UTF-8',
    npm_config_registry: says('npm', 'config', 'get', 'registry'),
    ...(certificates && { NODE_EXTRA_CA_CERTS: '/opt/certificates.pem' }),
    ...Object.fromEntries(Object.entries(process.env).filter(([key]) => /^(https?|no)_proxy$/i.test(key))),
  }
  const inside = (command, { folder: place = '/root', environment = {} } = {}) => [
    // Its mounts and processes end with the command.
    ...['unshare', '--mount', '--pid', '--fork', '--kill-child', `--root=${system}`, '--mount-proc=/proc'],
    ...[`--wd=${place}`, 'env', '-i'],
    ...Object.entries({ ...own, ...environment }).map(([key, value]) => `${key}=${value}`),
    // Without /sys, MPI's launchers warn that they do not know the processors.
    ...['sh', '-c', `mount -t sysfs sysfs /sys && ${command}`],
  ]
  return { system, inside, remove, mirror: mirrorOfDebian() }
}

/** Installs the libraries of an addon that was built on this machine. */
export function installLibraries(steps, inside) {
  const install = 'apt-get update -qq && apt-get install -y -qq --no-install-recommends libdnnl3.6 libhwy1t64'
  return steps.run('libraries', inside(install))
}

const mirrorOfDebian = () => says('bash', join(root, 'scripts', 'debian-packages.sh'), '--print-mirror')

async function makeBase(steps, suite, base) {
  const mirror = mirrorOfDebian()
  if (!mirror) throw new Skipped("this machine's apt knows no mirror of Debian")
  const unfinished = `${base}.unfinished`
  rmSync(unfinished, { recursive: true, force: true })
  await steps.run('debootstrap', ['debootstrap', '--variant=minbase', suite, unfinished, mirror])
  const proxy = says('apt-config', 'dump', 'Acquire::http::Proxy')
  if (proxy) writeFileSync(join(unfinished, 'etc', 'apt', 'apt.conf.d', '90proxy'), `${proxy}\n`)
  await addNode(steps, unfinished)
  renameSync(unfinished, base)
}

/** The folder that Node.js's own archives use. */
async function addNode(steps, system) {
  const scratch = join(system, 'tmp', 'node')
  const binary = `node-linux-${process.arch}`
  mkdirSync(scratch)
  const options = ['--no-audit', '--no-fund', '--prefix', scratch]
  await steps.run('Node.js', ['npm', 'install', ...options, `${binary}@${node}`, `npm@${npm}`])
  const local = join(system, 'usr', 'local')
  mkdirSync(join(local, 'lib', 'node_modules'), { recursive: true })
  renameSync(join(scratch, 'node_modules', binary, 'bin', 'node'), join(local, 'bin', 'node'))
  renameSync(join(scratch, 'node_modules', 'npm'), join(local, 'lib', 'node_modules', 'npm'))
  for (const command of ['npm', 'npx'])
    symlinkSync(`../lib/node_modules/npm/bin/${command}-cli.js`, join(local, 'bin', command))
  rmSync(scratch, { recursive: true })
}

function says(command, ...parameters) {
  return spawnSync(command, parameters, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).stdout?.trim()
}
