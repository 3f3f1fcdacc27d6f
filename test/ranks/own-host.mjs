/** Gives this process's machine a name that no other process has. */
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'

os.hostname = () => `machine-of-${process.pid}`
syncBuiltinESMExports()
