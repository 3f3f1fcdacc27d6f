import { expect, test } from 'vitest'
import { TransferLine } from '../../lib/cli/terminal/transfer-line.js'

test('a download shows its share, its speed and the time that is left', () => {
  let time = 0
  const line = new TransferLine({ bar: true, now: () => time })
  const at = (doneBytes: number) => line.format({ repository: 'owner/name', doneBytes, totalBytes: 4e9 })
  expect(at(1e9)).toBe('owner/name  [#####...............] 25 %  1.0 GB of 4.0 GB')
  time = 10_000
  expect(at(2e9)).toBe('owner/name  [##########..........] 50 %  2.0 GB of 4.0 GB  100 MB/s  20s left')
  expect(at(4e9)).toBe('owner/name  [####################] 100 %  4.0 GB of 4.0 GB  300 MB/s  0s left')
})

test('where lines stay, there is no bar; files without a byte are done', () => {
  const line = new TransferLine({ bar: false })
  expect(line.format({ repository: 'o/n', doneBytes: 0, totalBytes: 0 })).toBe('o/n  100 %  0 B of 0 B')
})
