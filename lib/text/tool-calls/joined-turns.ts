/** A message of the assistant: what it thought, said and called in one turn. */
interface AssistantTurn<Content, Call> {
  role: 'assistant'
  content: Content | null
  reasoning_content?: string
  tool_calls?: Call[]
}

const hasSaid = ({ content, tool_calls: calls }: AssistantTurn<unknown, unknown>) =>
  content !== null || calls !== undefined

/** Makes messages of the items of OpenAI's Responses: reasoning, text and calls that follow each other are one message of the assistant. */
export class JoinedTurns<Content, Call, Other> {
  readonly messages: (AssistantTurn<Content, Call> | Other)[] = []
  /** The last message, if it is the assistant's. */
  #open: AssistantTurn<Content, Call> | null = null

  /** Adds reasoning, unless it is empty. */
  think(reasoning: string): void {
    if (reasoning === '') return
    const isOver = this.#open && (hasSaid(this.#open) || this.#open.reasoning_content !== undefined)
    this.#turn(isOver).reasoning_content = reasoning
  }

  /** Adds what the assistant said. */
  say(content: Content): void {
    this.#turn(this.#open && hasSaid(this.#open)).content = content
  }

  call(call: Call): void {
    const turn = this.#turn(false)
    turn.tool_calls ??= []
    turn.tool_calls.push(call)
  }

  /** Adds a message of another role. */
  add(message: Other): void {
    this.#open = null
    this.messages.push(message)
  }

  #turn(isOver: boolean | null): AssistantTurn<Content, Call> {
    if (this.#open && !isOver) return this.#open
    this.#open = { role: 'assistant', content: null }
    this.messages.push(this.#open)
    return this.#open
  }
}
