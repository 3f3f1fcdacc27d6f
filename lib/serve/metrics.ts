/** Counts what the server does, in Prometheus' text format. */
import type { EngineUsage } from '../engine/index.js'

/** Upper bounds of a histogram's buckets, in seconds. */
const SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]

class Histogram {
  readonly #counts = SECONDS.map(() => 0)
  #count = 0
  #sum = 0

  observe(seconds: number): void {
    this.#count++
    this.#sum += seconds
    for (const [i, bound] of SECONDS.entries()) if (seconds <= bound) this.#counts[i]!++
  }

  get mean(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count
  }

  lines(name: string): string[] {
    const buckets = SECONDS.map((bound, i) => `${name}_bucket{le="${bound}"} ${this.#counts[i]}`)
    const whole = [
      `${name}_bucket{le="+Inf"} ${this.#count}`,
      `${name}_sum ${this.#sum}`,
      `${name}_count ${this.#count}`,
    ]
    return [...buckets, ...whole]
  }
}

export class ServerMetrics {
  promptTokens = 0
  newTokens = 0
  /** Seconds until the first token of a request. */
  readonly firstToken = new Histogram()
  /** Seconds until the completions of a request are complete. */
  readonly duration = new Histogram()
  readonly #responses = new Map<string, number>()

  /** @param route the pattern of the path, so that the number of labels is limited */
  countResponse(route: string, status: number): void {
    const labels = `route="${route}",status="${status}"`
    this.#responses.set(labels, (this.#responses.get(labels) ?? 0) + 1)
  }

  text({ running, waiting, pagesUsed, pagesFree }: EngineUsage): string {
    const one = (name: string, type: string, help: string, lines: readonly string[]) =>
      [`# HELP mora_${name} ${help}`, `# TYPE mora_${name} ${type}`, ...lines].join('\n')
    const gauge = (name: string, help: string, value: number) => one(name, 'gauge', help, [`mora_${name} ${value}`])
    const counter = (name: string, help: string, value: number) => one(name, 'counter', help, [`mora_${name} ${value}`])
    const histogram = (name: string, help: string, values: Histogram) =>
      one(name, 'histogram', help, values.lines(`mora_${name}`))
    const responses = [...this.#responses].map(([labels, count]) => `mora_answers_total{${labels}} ${count}`)
    return `${[
      one('answers_total', 'counter', 'Responses by route and status.', responses),
      counter('prompt_tokens_total', 'Prompt tokens.', this.promptTokens),
      counter('new_tokens_total', 'Generated tokens.', this.newTokens),
      gauge('sequences_running', 'Running sequences.', running),
      gauge('sequences_waiting', 'Waiting sequences.', waiting),
      gauge('pages_used', 'Used pages of keys and values.', pagesUsed),
      gauge('pages_free', 'Free pages of keys and values.', pagesFree),
      histogram('first_token_seconds', 'Time until the first token of a request.', this.firstToken),
      histogram('answer_seconds', 'Time until the completions of a request are complete.', this.duration),
    ].join('\n')}\n`
  }
}
