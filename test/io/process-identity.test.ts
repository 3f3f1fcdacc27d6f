import { expect } from 'vitest'
import { threadId, threadSeconds } from '../../lib/system/processes.js'
import { lacksLinux, needing } from '../needs.js'

needing(lacksLinux).test("a thread's processor time grows as it computes", () => {
  const id = threadId()!
  const before = threadSeconds(id)!
  const process0 = process.cpuUsage()
  const used = () => {
    const { user, system } = process.cpuUsage(process0)
    return (user + system) / 1e6
  }
  let sum = 0
  while (used() < 0.3) sum += Math.sqrt(sum + 1)
  expect(sum).toBeGreaterThan(0)
  expect(threadSeconds(id)!).toBeGreaterThan(before)
  expect(threadSeconds(2 ** 30)).toBeNull()
})
