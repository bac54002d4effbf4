// How fast json-rules-engine decides: {documents, facts, rounds} on standard input; on standard output its answers, and
// the evaluations per second of processor time of each round.
import { readFileSync } from 'node:fs'
import { Engine } from 'json-rules-engine'

const { documents, facts, rounds } = JSON.parse(readFileSync(0, 'utf8'))
const engines = documents.map(document => new Engine([{ conditions: document, event: { type: 'held' } }]))

const answers = []
for (const engine of engines) {
  const row = []
  for (const each of facts) row.push((await engine.run(each)).results.length === 1)
  answers.push(row)
}

const speeds = []
for (let round = 0; round < rounds; round++) {
  const started = process.cpuUsage()
  for (const engine of engines) {
    for (const each of facts) await engine.run(each)
  }
  const { user, system } = process.cpuUsage(started)
  speeds.push(engines.length * facts.length / ((user + system) / 1e6))
}
process.stdout.write(JSON.stringify({ answers, speeds }))
