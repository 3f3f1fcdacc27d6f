/** Gives this process's machine a unique name. */
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'

os.hostname = () => `machine-of-${process.pid}`
syncBuiltinESMExports()
