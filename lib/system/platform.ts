/** The system that this process runs on. */
import { platform } from 'node:os'

export const isLinux = platform() === 'linux'
export const isWindows = platform() === 'win32'
export const isMacos = platform() === 'darwin'
