// Decides documents over facts with json-rules-engine itself: {documents, facts} on standard input, on standard output
// for every document and every facts a row of
//   plain   1 or 0, or "throws": the engine as it is installed
//   total   the same with the operators below put in place of its own
//   changed the operators that make the difference, each put in alone
//
// The operators below are its own with Muster's null meaning: undefined and null are one value, which equals itself,
// has no order, and is in no list; what is denied is exactly the complement.
import { readFileSync } from 'node:fs'
import { Engine, OperatorDecorator, Operator } from 'json-rules-engine'

const known = value => value !== undefined && value !== null
const isNumber = value => Number.parseFloat(value).toString() !== 'NaN'
const equal = (a, b) => (a ?? null) === (b ?? null)
const isIn = (a, b) => known(a) && known(b) && b.indexOf(a) > -1
const contains = (a, b) => Array.isArray(a) && known(b) && a.indexOf(b) > -1
const ordered = test => (a, b) => known(a) && known(b) && isNumber(a) && test(a, b)

const OPERATORS = {
  equal,
  notEqual: (a, b) => !equal(a, b),
  in: isIn,
  notIn: (a, b) => !isIn(a, b),
  contains,
  doesNotContain: (a, b) => !contains(a, b),
  lessThan: ordered((a, b) => a < b),
  lessThanInclusive: ordered((a, b) => a <= b),
  greaterThan: ordered((a, b) => a > b),
  greaterThanInclusive: ordered((a, b) => a >= b)
}
const DECORATORS = {
  someValue: (fact, value, next) => Array.isArray(value) && value.some(each => next(fact, each)),
  everyValue: (fact, value, next) => Array.isArray(value) && value.every(each => next(fact, each))
}

function engineFor (document, replaced) {
  const engine = new Engine([{ conditions: document, event: { type: 'held' } }], { allowUndefinedFacts: true })
  for (const name of replaced) {
    if (name in OPERATORS) engine.addOperator(new Operator(name, OPERATORS[name]))
    else engine.addOperatorDecorator(new OperatorDecorator(name, DECORATORS[name]))
  }
  return engine
}

async function decide (engine, facts) {
  try {
    return (await engine.run(facts)).results.length
  } catch (error) {
    if (error instanceof TypeError) return 'throws'
    throw error
  }
}

const ALL = [...Object.keys(OPERATORS), ...Object.keys(DECORATORS)]
const { documents, facts } = JSON.parse(readFileSync(0, 'utf8'))
const answers = []
for (const document of documents) {
  const plain = engineFor(document, [])
  const total = engineFor(document, ALL)
  const rows = []
  for (const each of facts) {
    const row = { plain: await decide(plain, each), total: await decide(total, each), changed: [] }
    if (row.plain !== row.total) {
      for (const name of ALL) {
        if (await decide(engineFor(document, [name]), each) !== row.plain) row.changed.push(name)
      }
    }
    rows.push(row)
  }
  answers.push(rows)
}
process.stdout.write(JSON.stringify(answers))
