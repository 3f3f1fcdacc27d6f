import type { SampleEvent } from './events.js'
import { appendSamples } from './output/metrics-file.js'
import type { Session } from './session.js'

/** Samples are due before the first step, after every `sampleEvery`, and after the last step. */
export function samplesAreDue({ state, options, data, sync }: Session): boolean {
  if (!sync.isFirst || options.samplePrompt === undefined || state.sampledAt === state.step) return false
  if (state.step === 0 || state.step === data.totalSteps) return true
  return options.sampleEvery !== undefined && state.step % options.sampleEvery === 0
}

/** Generates an answer to every prompt, greedily, and writes a line for each. */
export async function takeSamples(session: Session): Promise<SampleEvent[]> {
  const { options, output, state, sample } = session
  const { step } = state
  const events: SampleEvent[] = []
  for (const prompt of options.samplePrompt ?? []) {
    events.push({ type: 'sample', step, prompt, text: await sample(prompt) })
  }
  if (output) await appendSamples(output.samples, events)
  session.state = { ...state, sampledAt: step }
  return events
}
