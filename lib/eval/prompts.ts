/** Prompts of tasks: solved examples and a question. */
import { malformedRow } from '../rows/check.js'
import type { DataRecord } from '../rows/record.js'
import type { Message } from '../text/template.js'
import type { OpenData } from './context.js'
import { taskRecords } from './rows.js'

/** A question with its answer. */
interface Solved {
  question: string
  answer: string
  /** The subject, from which its shots come. */
  subject?: string
}

export interface TaskPrompt {
  /** Text before everything else. */
  header?: string | undefined
  /** Solved examples. */
  shots: readonly Solved[]
  question: string
}

/**
 * Returns a prompt as text: a space comes before each answer, and an empty line between questions.
 * @param write writes a question
 */
export function plainText(
  { header = '', shots, question }: TaskPrompt,
  write = (question: string) => question,
): string {
  const solved = shots.map((shot) => `${write(shot.question)} ${shot.answer}\n\n`)
  return header + solved.join('') + write(question)
}

/** Returns a prompt as a conversation: each question is a user's turn and each answer an assistant's. */
export function chatOf({ header = '', shots, question }: TaskPrompt): Message[] {
  const turns: Message[] = shots.flatMap((shot) => [
    { role: 'user', content: shot.question },
    { role: 'assistant', content: shot.answer },
  ])
  const [first, ...rest] = [...turns, { role: 'user', content: question }]
  return [{ ...first!, content: `${header}${first!.content}` }, ...rest]
}

/** The solved examples before a question: the first ones of its subject. */
export class Shots {
  readonly #bySubject = new Map<string | undefined, Solved[]>()

  private constructor(readonly count: number) {}

  /** Reads the examples that any question can need: one more of each subject than there are shots. */
  static async read({ shotsData, options, signal }: OpenData, solved: (record: DataRecord) => Solved): Promise<Shots> {
    const shots = new Shots(options.shots)
    if (options.shots === 0 || !shotsData) return shots
    for await (const record of taskRecords(shotsData, { signal })) {
      const shot = solved(record)
      const rows = shots.#bySubject.get(shot.subject) ?? []
      shots.#bySubject.set(shot.subject, rows)
      if (rows.length <= options.shots) rows.push(shot)
    }
    return shots
  }

  /** @throws InputError if the subject has too few; a question is never its own example */
  before({ question, subject }: Omit<Solved, 'answer'>, where: string): Solved[] {
    if (this.count === 0) return []
    const others = (this.#bySubject.get(subject) ?? []).filter((shot) => shot.question !== question)
    if (others.length >= this.count) return others.slice(0, this.count)
    const which = subject === undefined ? 'without a subject' : `of the subject "${subject}"`
    throw malformedRow(
      where,
      `the shots data has ${others.length} other questions ${which}, and ${this.count} were asked for`,
    )
  }
}
