import type { Run, StepEvent } from '../../lib/train/index.js'

/** The steps that a run takes; it is stopped after step `stopAfter`. */
export async function stepsOf(run: Run, stopAfter?: number): Promise<StepEvent[]> {
  const steps: StepEvent[] = []
  for await (const event of run) {
    if (event.type !== 'step') continue
    steps.push(event)
    if (event.step === stopAfter) void run.stop()
  }
  return steps
}
