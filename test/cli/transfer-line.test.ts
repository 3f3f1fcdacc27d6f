import { expect, test } from 'vitest'
import { TransferLine } from '../../lib/cli/terminal/transfer-line.js'

const GiB = 2 ** 30

test('a download shows its share, its speed and the time that is left', () => {
  let time = 0
  const line = new TransferLine({ bar: true, now: () => time })
  const at = (doneBytes: number) => line.format({ repository: 'owner/name', doneBytes, totalBytes: 4 * GiB })
  expect(at(GiB)).toBe('owner/name  [#####...............] 25 %  1 GiB of 4 GiB')
  time = 10_000
  expect(at(2 * GiB)).toBe('owner/name  [##########..........] 50 %  2 GiB of 4 GiB  102 MiB/s  20s left')
  expect(at(4 * GiB)).toBe('owner/name  [####################] 100 %  4 GiB of 4 GiB  307 MiB/s  0s left')
})

test('where lines stay, there is no bar; files without a byte are done', () => {
  const line = new TransferLine({ bar: false })
  expect(line.format({ repository: 'o/n', doneBytes: 0, totalBytes: 0 })).toBe('o/n  100 %  0 B of 0 B')
})
