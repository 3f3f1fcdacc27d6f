/** Runs `read`; a wrong option ends the process with its message and exit code 2. */
export function orUsageError(read) {
  try {
    return read()
  } catch (error) {
    console.error(error.message)
    process.exit(2)
  }
}
