/** Jinja's statements and transformers' `generation`. Each method reads one and returns the function that runs it. */

import { str } from '../python/text.js'
import { Attributes, type Callable, isTrue, itemsOf, type Value } from '../python/values.js'
import { type Expression, Expressions } from './expressions.js'
import { Loop, type Scope } from './scope.js'
import { Tokens } from './tokens.js'

/** Runs a statement. The result tells an enclosing loop to stop, or to go on with its next item. */
type Statement = (scope: Scope) => 'break' | 'continue' | undefined
/** Assigns a value to a variable, or its items to several. */
type Target = (value: Value, scope: Scope) => void

/**
 * Where a template has `{% generation %}` marks. Marks are hidden in a macro, a filter or a set block, whose text may be changed
 * before it is written.
 */
export type Marking = 'none' | 'shown' | 'hidden'

/** A compiled template. */
export interface Program {
  run: Statement
  marking: Marking
}

/**
 * Compiles a template.
 * @param source a template whose lines end with `\n`
 * @throws Error that names the line and what was expected
 */
export function parse(source: string): Program {
  const statements = new Statements(new Tokens(source))
  const { run } = statements.until([])
  return { run, marking: statements.marking }
}

class Statements {
  marking: Marking = 'none'
  readonly #expressions: Expressions
  readonly #tokens: Tokens
  /** Number of blocks around the next statement whose text is not written at once. */
  #captures = 0

  constructor(tokens: Tokens) {
    this.#tokens = tokens
    this.#expressions = new Expressions(tokens)
  }

  /** Reads statements up to one of the tags `ends` and the name of that tag; without `ends`, up to the end of the template. */
  until(ends: readonly string[]): { run: Statement; end: string } {
    const statements: Statement[] = []
    for (;;) {
      if (this.#tokens.next.kind === 'text') {
        const text = this.#tokens.take()
        statements.push(writing(() => text))
      } else if (this.#tokens.skip('{{')) {
        statements.push(writing(this.#expressions.expressions()))
        this.#tokens.expect('}}')
      } else if (this.#tokens.skip('{%')) {
        const end = ends.find((name) => this.#tokens.skip(name))
        if (end !== undefined) return { run: inOrder(statements), end }
        statements.push(this.#statement(ends))
        this.#tokens.expect('%}')
      } else if (ends.length === 0) {
        return { run: inOrder(statements), end: '' }
      } else {
        throw this.#tokens.expected(tagsOf(ends))
      }
    }
  }

  /** Reads the end of an opening tag, the body, and the name of its end tag. */
  #block(end: string): Statement {
    this.#tokens.expect('%}')
    return this.until([end]).run
  }

  /** Reads a block as `#block` does, whose text is a value. */
  #captured(end: string): Statement {
    this.#captures++
    const body = this.#block(end)
    this.#captures--
    return body
  }

  #statement(ends: readonly string[]): Statement {
    switch (this.#tokens.next.value) {
      case 'if':
        return this.#if()
      case 'for':
        return this.#for()
      case 'set':
        return this.#set()
      case 'with':
        return this.#with()
      case 'macro':
        return this.#macro()
      case 'call':
        return this.#callBlock()
      case 'filter': {
        this.#tokens.take()
        const change = this.#filters(this.#expressions.filter())
        const body = this.#captured('endfilter')
        return writing((scope) => change(scope.captured(body), scope))
      }
      case 'generation': {
        this.#tokens.take()
        if (this.marking !== 'hidden') this.marking = this.#captures > 0 ? 'hidden' : 'shown'
        const body = this.#block('endgeneration')
        return (scope) => scope.output.generating(() => body(scope.inner()))
      }
      case 'break':
      case 'continue': {
        const jump = this.#tokens.take() === 'break' ? 'break' : 'continue'
        return () => jump
      }
    }
    throw this.#tokens.expected(ends.length > 0 ? `${tagsOf(ends)} or another tag` : 'a tag')
  }

  #if(): Statement {
    const branches: { test: Expression; run: Statement }[] = []
    let end = 'elif'
    while (end === 'elif') {
      if (branches.length === 0) this.#tokens.expect('if')
      const test = this.#expressions.expressions()
      this.#tokens.expect('%}')
      const branch = this.until(['elif', 'else', 'endif'])
      branches.push({ test, run: branch.run })
      end = branch.end
    }
    const otherwise = end === 'else' ? this.#block('endif') : undefined
    return (scope) => {
      const branch = branches.find(({ test }) => isTrue(test(scope)))
      return (branch?.run ?? otherwise)?.(scope)
    }
  }

  /** Each round has a scope of its own: variables that it sets are gone in the next. */
  #for(): Statement {
    this.#tokens.expect('for')
    const target = this.#target()
    this.#tokens.expect('in')
    // An `if` after the items selects some of them, and is no conditional expression.
    const all = this.#expressions.expressions(() => this.#expressions.or())
    const test = this.#tokens.skip('if') ? this.#expressions.expression() : undefined
    this.#tokens.expect('%}')
    const { run, end } = this.until(['else', 'endfor'])
    const otherwise = end === 'else' ? this.#block('endfor') : undefined
    return (scope) => {
      const bound = (item: Value) => {
        const inner = scope.inner()
        target(item, inner)
        return inner
      }
      const items = itemsOf(all(scope)).filter((item) => !test || isTrue(test(bound(item))))
      if (items.length === 0) return otherwise?.(scope)
      const loop = new Loop(items)
      const { variable } = loop
      scope.output.eachRound(items, (item, i) => {
        const inner = bound(item)
        loop.at = i
        inner.set('loop', variable)
        return run(inner) !== 'break'
      })
      return undefined
    }
  }

  #set(): Statement {
    this.#tokens.expect('set')
    const isVariable = this.#tokens.isFollowedBy('=')
    const target = this.#target()
    if (this.#tokens.skip('=')) {
      const expression = this.#expressions.expressions()
      return (scope) => {
        const value = expression(scope)
        target(value, scope)
        if (isVariable) scope.output.noticeVariable(value)
        return undefined
      }
    }
    const change = this.#filters()
    if (!this.#tokens.is('%}')) throw this.#tokens.expected('= or %}')
    const body = this.#captured('endset')
    return (scope) => {
      target(change(scope.captured(body), scope), scope)
      return undefined
    }
  }

  #with(): Statement {
    this.#tokens.expect('with')
    const assignments = this.#tokens.list('%}', () => {
      const target = this.#singleTarget()
      this.#tokens.expect('=')
      return { target, expression: this.#expressions.expression() }
    })
    const { run } = this.until(['endwith'])
    return (scope) => {
      const inner = scope.inner()
      for (const { target, expression } of assignments) target(expression(scope), inner)
      return run(inner)
    }
  }

  #macro(): Statement {
    this.#tokens.expect('macro')
    const name = this.#tokens.name()
    const make = this.#callable('endmacro')
    if (this.#tokens.next.kind === 'name') this.#tokens.take()
    return (scope) => {
      scope.set(name, make(scope))
      return undefined
    }
  }

  /** Reads `call(parameters) macro(arguments)`. The macro can call the block as `caller`. */
  #callBlock(): Statement {
    this.#tokens.expect('call')
    const parameters = this.#tokens.is('(') ? this.#parameters() : []
    const { at } = this.#tokens.next
    const callee = this.#expressions.defined(this.#expressions.path(false), at)
    this.#tokens.expect('(')
    const given = this.#expressions.args()
    const make = this.#callable('endcall', parameters)
    return writing((scope) => {
      const macro = callee(scope)
      if (typeof macro !== 'function') throw new Error('a call block expected a macro')
      const { args, keywords } = given(scope)
      return macro(args, keywords.set('caller', make(scope)))
    })
  }

  /** Reads a body up to its end tag and returns a maker of functions that return the body's output. */
  #callable(end: string, parameters = this.#parameters()): (scope: Scope) => Callable {
    const body = this.#captured(end)
    return (scope) => (args, keywords) => {
      const inner = scope.inner()
      for (const [i, { name, fallback }] of parameters.entries()) {
        inner.set(name, i < args.length ? args[i] : keywords.has(name) ? keywords.get(name) : fallback?.(inner))
      }
      if (keywords.has('caller')) inner.set('caller', keywords.get('caller'))
      return inner.captured(body)
    }
  }

  #parameters(): { name: string; fallback: Expression | undefined }[] {
    this.#tokens.expect('(')
    return this.#tokens.list(')', () => ({
      name: this.#tokens.name(),
      fallback: this.#tokens.skip('=') ? this.#expressions.expression() : undefined,
    }))
  }

  /** Reads further filters, each after a bar. */
  #filters(first = (value: Value, _: Scope): Value => value): typeof first {
    const changes = [first]
    while (this.#tokens.skip('|')) changes.push(this.#expressions.filter())
    return (value, scope) => changes.reduce((changed, change) => change(changed, scope), value)
  }

  /** Reads `a`, or `a, (b, c)`, which unpacks items. */
  #target(): Target {
    const targets = [this.#singleTarget()]
    const tokens = this.#tokens
    while (tokens.skip(',') && (tokens.is('(') || tokens.next.kind === 'name')) targets.push(this.#singleTarget())
    if (targets.length === 1) return targets[0]!
    return (value, scope) => {
      const items = itemsOf(value)
      if (items.length !== targets.length) {
        throw new Error(`expected ${targets.length} values to unpack but received ${items.length}`)
      }
      for (const [i, target] of targets.entries()) target(items[i], scope)
    }
  }

  #singleTarget(): Target {
    if (this.#tokens.skip('(')) {
      const inner = this.#target()
      this.#tokens.expect(')')
      return inner
    }
    const variable = this.#tokens.name()
    if (!this.#tokens.skip('.')) return (value, scope) => scope.set(variable, value)
    const name = this.#tokens.name()
    return (value, scope) => {
      const object = scope.get(variable)
      if (!(object instanceof Attributes && object.set)) throw new Error(`${variable} is no namespace`)
      object.set(name, value)
    }
  }
}

const tagsOf = (names: readonly string[]) => names.map((name) => `{% ${name} %}`).join(' or ')

const writing =
  (expression: Expression): Statement =>
  (scope) => {
    scope.output.write(str(expression(scope)))
    return undefined
  }

const inOrder =
  (statements: readonly Statement[]): Statement =>
  (scope) => {
    for (const statement of statements) {
      const jump = statement(scope)
      if (jump) return jump
    }
    return undefined
  }
