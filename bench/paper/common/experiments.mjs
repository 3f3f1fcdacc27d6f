/** The experiments of the paper by name; each is loaded when it is asked for. */
const load = (name) => async () => (await import(`../${name}.mjs`)).default

export const experiments = Object.fromEntries(
  ['memory', 'instruct', 'math', 'continual', 'pretrain', 'operators', 'spectra'].map((name) => [name, load(name)]),
)
