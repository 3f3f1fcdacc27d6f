/** The command that installs what the addon is compiled with, by system. */
import { expect, it } from 'vitest'
import { commandThatInstalls } from '../../scripts/build-tools.mjs'

it.each([
  [['debian'], 'apt-get install cmake libeigen3-dev'],
  [['ubuntu', 'debian'], 'apt-get install cmake libeigen3-dev'],
  [['rocky', 'rhel', 'centos', 'fedora'], 'dnf install cmake eigen3-devel'],
  [['manjaro', 'arch'], 'pacman -S cmake eigen'],
  [['alpine'], 'apk add cmake eigen-dev'],
  [['haiku'], null],
])('CMake is installed on %j by: %s', (system, command) => {
  expect(commandThatInstalls(['CMake'], system)).toBe(command)
})
