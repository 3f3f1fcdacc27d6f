/** The content of "npm pack": what is needed to run and to build, and nothing else. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { root } from './project.js'

let files: string[]
beforeAll(() => {
  const { stdout } = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: root,
    encoding: 'utf8',
  })
  const [{ files: listed }] = JSON.parse(stdout) as [{ files: { path: string }[] }]
  files = listed.map(({ path }) => path)
})

test('the package contains only files that it needs', () => {
  const needed = [
    /^(LICENSE|README\.md|CHANGELOG\.md|CONTRIBUTING\.md|package\.json)$/,
    /^docs\/(?!api\/).+\.md$/,
    /^assets\/(demo-model\/[^/]+|self-check\.json)$/,
    /^examples\//,
    /^skills\/mora\/SKILL\.md$/,
    /^llms(-full)?\.txt$/,
    /^dist\/.+\.(js|cjs|d\.ts|d\.cts)$/,
    /^dist\/(dashboard|serve)\/page\/([^/]+\/)?[^/]+\.(html|css|js|svg)$/,
    /^(CMakeLists\.txt|native\/common\.cmake|cmake\/[^/]+\.(cmake|cpp))$/,
    /^(binding\.gyp|scripts\/((build-native|build-tools|install|run)\.mjs|debian-packages\.sh|setup\.sh))$/,
    /^native\/.+\.(h|cpp|cu|def)$/,
    /^native\/(cuda\/(CMakeLists\.txt|compile\.sh)|gloo\/CMakeLists\.txt)$/,
  ]
  expect(files.filter((file) => !needed.some((pattern) => pattern.test(file)))).toEqual([])
  const code = files.filter((file) => !/^(docs|assets)\//.test(file))
  expect(code.filter((file) => /(^|[/.])(test|golden|bench)/.test(file))).toEqual([])
})

test('links between its pages lead to files of the package', () => {
  const pages = files.filter((file) => /^(docs\/.+|skills\/.+|README|CONTRIBUTING|CHANGELOG)\.md$/.test(file))
  const links = pages.flatMap((page) =>
    [...readFileSync(join(root, page), 'utf8').matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)].map(([, path]) =>
      normalize(join(dirname(page), path!)),
    ),
  )
  expect(links.length).toBeGreaterThan(100)
  expect([
    ...new Set(links.filter((path) => !files.some((file) => file === path || file.startsWith(`${path}/`)))),
  ]).toEqual([])
})

test('every compiled file has its source', () => {
  const generated = ['dist', 'dist/adapters', 'dist/ai'].flatMap((folder) => [
    `${folder}/index.cjs`,
    `${folder}/index.d.cts`,
  ])
  const sources = files
    .filter((file) => file.startsWith('dist/') && !generated.includes(file))
    .map((file) => file.replace(/^dist/, 'lib'))
    .map((file) => (file.includes('/page/') ? file : file.replace(/(\.d\.ts|\.js)$/, '.ts')))
  const gone = sources.filter((source) => !existsSync(join(root, source)))
  expect(gone, 'dist has files of an older build; "npm run prepack" makes it anew').toEqual([])
  expect(files).toEqual(expect.arrayContaining([...generated, 'dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js']))
})

test('every native source is there', () => {
  const sources = ['native', 'cmake']
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
  expect(sources.length).toBeGreaterThan(100)
  const scripts = ['build-native.mjs', 'build-tools.mjs', 'install.mjs', 'debian-packages.sh', 'setup.sh']
  expect(files).toEqual(
    expect.arrayContaining([...sources, 'CMakeLists.txt', 'binding.gyp', ...scripts.map((name) => `scripts/${name}`)]),
  )
})
