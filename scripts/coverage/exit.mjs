/** vitest ends its processes by SIGTERM: counts are written where a process exits. */
process.once('SIGTERM', () => process.exit())
