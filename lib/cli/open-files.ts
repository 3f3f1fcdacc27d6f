/** Returns the message for a process that may not open as many files as it needs; undefined for any other error. */
export function tooManyOpenFiles(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { code?: unknown }
  if (code !== 'EMFILE' && code !== 'ENFILE') return undefined
  const whose = code === 'EMFILE' ? 'this process may' : 'this machine can'
  return `More open files are needed than ${whose} have: raise the limit, for example with "ulimit -n 1024".`
}
