/** What is said where a process may not open as many files as it needs; undefined of another error. */
export function tooManyOpenFiles(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { code?: unknown }
  if (code !== 'EMFILE' && code !== 'ENFILE') return undefined
  const whose = code === 'EMFILE' ? 'this process may' : 'this machine can'
  return `More files are needed than ${whose} have open: allow more of them, as "ulimit -n 1024" does.`
}
