/**
 * `node scripts/layout.mjs` makes what C++ and TypeScript share from native/layout.mjs; with `--check` it fails if a
 * file is another. Owns how each kind of thing is written on either side.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as layout from '../native/layout.mjs'
import { ROOT, StepFailed, main } from './steps.mjs'

const NOTE = 'Made by scripts/layout.mjs from native/layout.mjs: change that.'
/** Of a line in C++, and in TypeScript. */
const WIDTH = 100
const WIDTH_TS = 118
const PEER = 'peer'
const UNUSED = 'unused'

/** camelCase to snake_case; the letters of an abbreviation stay together. */
const snake = (name) => name.replaceAll(/[A-Z]+(?![a-z])|[A-Z]/g, (letters) => `_${letters.toLowerCase()}`)
const pascal = (name) => name[0].toUpperCase() + name.slice(1)
/** Names with the numbers that they have by their order. */
const numbered = (names, first = 0) => names.map((name, i) => [name, i + first])
const explained = (texts) => Object.entries(texts).map(([name, text], i) => [name, i, text])

function wrapped(text, width) {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1]
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines
}

// C++

const comment = (text, indent = '') => (
  text ? wrapped(text, WIDTH - indent.length - 3).map((line) => `${indent}// ${line}`) : []
)

const header = (what, includes, space, body) => [
  ...comment(`${what} ${NOTE}`), '#pragma once', '',
  ...includes.map((name) => (name === '' ? '' : `#include ${name}`)), '',
  `namespace marketplace::${space} {`, '', ...body, '', `}  // namespace marketplace::${space}`, '',
].join('\n')

const cppConstants = (names) => names.flatMap((name) => {
  const [value, text] = layout.constants[name]
  return [...comment(text), `constexpr int32_t ${snake(name)} = ${value};`]
})

const cppEnum = (name, type, entries) => [
  `enum class ${name} : ${type} {`,
  ...entries.flatMap(([entry, number, text]) => [...comment(text, '  '), `  ${snake(entry)} = ${number},`]),
  '};', '',
]

const cppDoubles = (name, text, fields) => [
  ...comment(text), `struct ${name} {`,
  ...Object.entries(fields).flatMap(([field, meaning]) => [...comment(meaning, '  '), `  double ${snake(field)};`]),
  '};', `constexpr size_t ${name.toLowerCase()}_count = sizeof(${name}) / sizeof(double);`,
]

/** A record's words after the event, as members of the C++ structure. */
const MEMBERS = ['id', 'a', 'b', 'c', 'd', 'e', 'f']
const RECORD_TYPES = { error: 'int32_t', call: 'Call', purpose: 'Purpose', [PEER]: 'const Address&' }
const typeOfField = (field) => RECORD_TYPES[field] ?? 'uint32_t'

function setMember(field, i) {
  const member = `record.${MEMBERS[i]}`
  if (field === UNUSED) return []
  if (field === PEER) return [`    ${field}.pack(&${member});`]
  const type = typeOfField(field)
  if (type === 'int32_t') return [`    ${member} = ${field};`]
  return [`    ${member} = static_cast<int32_t>(${field});`]
}

/** A list on as many lines as it needs, as clang-format sets it: the further ones begin below the first item. */
function filled(before, items, after) {
  const lines = [before]
  items.forEach((item, i) => {
    const last = lines.length - 1
    const piece = i === items.length - 1 ? `${item}${after}` : `${item},`
    const isFirst = i === 0
    if (isFirst || `${lines[last]} ${piece}`.length <= WIDTH) lines[last] += isFirst ? piece : ` ${piece}`
    else lines.push(' '.repeat(before.length) + piece)
  })
  return lines
}

const recordMakers = () => Object.entries(layout.records).flatMap(([name, fields]) => {
  const parameters = fields.filter((field) => field !== UNUSED).map((field) => `${typeOfField(field)} ${field}`)
  return [
    ...comment(layout.recordTexts[name], '  '), ...filled(`  static Record ${snake(name)}(`, parameters, ') {'),
    `    Record record{Event::${snake(name)}};`, ...fields.flatMap(setMember), '    return record;', '  }',
  ]
})

const engineHeader = () => header(
  'What the engine and its host tell each other by number: records, ids, addresses.',
  ['<cstddef>', '<cstdint>', '', '"address.h"'], 'engine', [
    ...cppConstants(['indexBits', 'recordWords', 'addressWords', 'zoneShift', 'zoneElsewhere']), '',
    ...cppEnum('Family', 'int32_t', Object.entries(layout.family)),
    ...comment('Which backend; `automatic` chooses.'),
    ...cppEnum('BackendName', 'uint32_t', numbered(layout.backends.map((name) => name.replace(/^auto$/, 'automatic')))),
    ...comment('What an ArrayBuffer is for.'),
    ...cppEnum('Purpose', 'uint32_t', numbered(layout.purposes)),
    ...comment('What a descriptor of others is adopted as: listening, or bound at least, or connected.'),
    ...cppEnum('Adoptable', 'uint32_t', numbered(layout.adoptables)),
    ...comment('Where a connection goes, besides the numbers of places, from 0 on: to the worker with the fewest '
      + 'connections; more of what it says is needed; it is reset.'),
    ...cppEnum('RouteAnswer', 'int32_t', Object.entries(layout.routeAnswers)),
    ...comment('What a listener limits.'),
    ...cppEnum('Limit', 'uint32_t', numbered(layout.limits)),
    `constexpr uint32_t limit_count = ${layout.limits.length};`, '',
    ...comment('How a stream is cut into frames.'),
    ...cppEnum('FrameKind', 'uint32_t', numbered(layout.frameKinds)),
    ...comment('The system call that an error belongs to, under the name that Node gives it.'),
    ...cppEnum('Call', 'int32_t', layout.calls.map(([name, text], i) => [name, i, text && `No call: ${text}.`])),
    ...cppEnum('Event', 'int32_t', numbered(Object.keys(layout.records), 1)),
    ...cppDoubles('ConnectionInfo', 'What is known of one connection when somebody asks: mostly the TCP_INFO of the '
      + 'kernel. What an older kernel doesn\'t know is 0.', layout.connectionInfo), '',
    ...comment('What the engine reports: words, so that a batch of them can be handed to another language without '
      + 'a call per event. All are signed: errno values are negative.'),
    'struct Record {', '  Event event;', ...MEMBERS.map((member) => `  int32_t ${member} = 0;`), '',
    ...recordMakers(), '};',
    'static_assert(sizeof(Record) == record_words * sizeof(int32_t), "words, without padding");',
  ],
)

/** Whether a command says no more than for whom it is. */
const isPlain = (fields) => Object.keys(fields).join() === 'id'
const UNSIGNED = ['slab', 'id', 'offset', 'length', 'index']
const typeOfCommandField = (field) => (UNSIGNED.includes(field) ? 'uint32_t' : 'int32_t')

/** How C++ reads a command's field. */
function fieldValue(field, place) {
  const [word, shift = '0', bits = '32'] = place.split(':')
  const at = { high: 0, id: 1, first: 2, second: 3 }[word]
  const signed = typeOfCommandField(field) === 'int32_t'
  const source = signed ? `words[${at}]` : `static_cast<uint32_t>(words[${at}])`
  const offset = word === 'high' ? 8 : Number(shift)
  const shifted = offset === 0 ? source : `${source} >> ${offset}`
  return word === 'high' || offset + Number(bits) >= 32 ? shifted : `${shifted} & ${2 ** Number(bits) - 1}`
}

/** As few lines as clang-format would take. */
function constructor(type, members) {
  const head = `  explicit ${type}(const int32_t* words)`
  const rest = `: ${members.join(', ')} {}`
  if (head.length + 1 + rest.length <= WIDTH) return [`${head} ${rest}`]
  if (6 + rest.length <= WIDTH) return [head, `      ${rest}`]
  const last = members.length - 1
  return [head, ...members.map((member, i) => `      ${i === 0 ? ':' : ' '} ${member}${i === last ? ' {}' : ','}`)]
}

/** One structure for all commands with the same fields. */
function commandStructures() {
  const alike = new Map()
  for (const [name, fields] of Object.entries(layout.commands)) {
    const key = JSON.stringify(fields)
    if (!isPlain(fields)) alike.set(key, [...(alike.get(key) ?? []), name])
  }
  return [...alike].flatMap(([key, [first, ...others]]) => {
    const fields = Object.entries(JSON.parse(key))
    const type = `${pascal(first)}Command`
    return [
      ...comment(others.length > 0 ? `Also ${others.map(snake).join(', ')}.` : ''), `struct ${type} {`,
      ...constructor(type, fields.map(([field, place]) => `${snake(field)}(${fieldValue(field, place)})`)),
      ...fields.map(([field]) => `  ${typeOfCommandField(field)} ${snake(field)};`), '};', '',
    ]
  })
}

/** The number of the first word of a kind of options, which may begin with those of another. */
const firstWord = ({ before }) => (before === undefined ? 0 : Object.keys(layout.options[before[0]].words).length)

function readWord(type, at) {
  if (type === 'bool') return `words[${at}] != 0`
  return type === 'int32_t' ? `words[${at}]` : `static_cast<${type}>(words[${at}])`
}

const optionWriter = (struct, fields) => [
  `inline void write_words(int32_t* words, const engine::${struct}& from) {`,
  ...fields.map(([type, field], i) => `  words[${i}] = from.${field}${type === 'bool' ? ' ? 1 : 0' : ''};`), '}',
]

const optionReaders = () => Object.values(layout.options).flatMap((option) => {
  const { before, struct, words, written = false } = option
  const first = firstWord(option)
  const fields = Object.values(words)
  return [
    `constexpr size_t ${snake(struct).slice(1)}_words = ${first + fields.length};`,
    `inline void read_words(const int32_t* words, engine::${struct}& out) {`,
    ...(before === undefined ? [] : [`  read_words(words, out.${before[1]});`]),
    ...fields.map(([type, field], i) => `  out.${field} = ${readWord(type, first + i)};`), '}',
    ...(written ? optionWriter(struct, fields) : []), '',
  ]
})

const bindingHeader = () => header(
  'The words that are shared with JavaScript: commands, options, counters.',
  ['<cstddef>', '<cstdint>', '',
    '"../engine/framer.h"', '"../engine/options.h"', '"../engine/udp_socket.h"'], 'binding', [
    ...cppConstants(['commandWords', 'commandHeaderWords', 'receiverWords', 'bindFailed', 'unixPort']), '',
    ...Object.entries(layout.header).flatMap(([name, text], i) => [
      ...comment(text), `constexpr int32_t header_${snake(name)} = ${i};`,
    ]), '',
    ...comment('What the program says of the views that it was given.'),
    ...cppEnum('Views', 'int32_t', Object.entries(layout.views).map(([name, [number, text]]) => [name, number, text])),
    ...cppEnum('Command', 'int32_t',
      numbered(Object.keys(layout.commands), 1).map(([name, number]) => [name, number, layout.commandTexts[name]])),
    'inline Command operation_of(const int32_t* words) {', '  return static_cast<Command>(words[0] & 0xff);', '}', '',
    ...commandStructures(), ...optionReaders(),
    ...cppDoubles('Stats', 'What is counted. Times are nanoseconds.', layout.stats), '',
    ...comment('What a listener has counted beside how often its limits acted, after that.'),
    ...numbered(Object.keys(layout.listenerCounts), layout.limits.length).flatMap(([name, number]) => [
      ...comment(layout.listenerCounts[name]), `constexpr size_t listener_${snake(name)} = ${number};`,
    ]),
    `constexpr size_t listener_counts = ${layout.limits.length + Object.keys(layout.listenerCounts).length};`,
  ],
)

// TypeScript

/** On one line if it fits. */
function docstring(text, indent = '') {
  if (!text) return []
  const short = `${indent}/** ${text} */`
  if (short.length <= WIDTH_TS) return [short]
  const lines = wrapped(text, WIDTH_TS - indent.length - 3)
  return [`${indent}/**`, ...lines.map((line) => `${indent} * ${line}`), `${indent} */`]
}

const tsFile = (what, body) => ['/**', ` * ${what} Owns nothing.`, ' *', ` * ${NOTE}`, ' */', '', ...body].join('\n')

const tsConstant = (name, value, text) => [...docstring(text), `export const ${name} = ${value}`, '']

const tsList = (name, text, list) => {
  const lines = wrapped(list.map((entry) => `'${entry}',`).join(' '), WIDTH_TS - 2)
  return tsConstant(name, `[\n${lines.map((line) => `  ${line}\n`).join('')}] as const`, text)
}

/** A constant with a number for each name: on one line if nothing is said of them. */
function tsNumbers(name, text, entries) {
  const all = entries.map(([entry, number]) => `${entry}: ${number}`).join(', ')
  const short = `{ ${all} } as const`
  const silent = entries.every(([, , meaning]) => !meaning)
  if (silent && `export const ${name} = ${short}`.length <= WIDTH_TS) return tsConstant(name, short, text)
  const lines = entries.flatMap(([entry, number, meaning]) => [...docstring(meaning, '  '), `  ${entry}: ${number},`])
  return tsConstant(name, ['{', ...lines, '} as const'].join('\n'), text)
}

/** A record's fields, each with its word. */
function places(fields) {
  let at = 1
  const result = []
  for (const field of fields) {
    if (field !== UNUSED) result.push([field, at])
    at += field === PEER ? layout.constants.addressWords[0] : 1
  }
  return result
}

/** A command's words as expressions of its fields. */
function wordExpressions(operation, fields) {
  const words = { high: [String(operation)], id: [], first: [], second: [] }
  for (const [field, place] of Object.entries(fields)) {
    const [word, shift = '0'] = place.split(':')
    const offset = word === 'high' ? '8' : shift
    words[word].push(offset === '0' ? field : `(${field} << ${offset})`)
  }
  return Object.values(words).map((parts) => (parts.length === 0 ? '0' : parts.join(' | ')))
}

function commandFunctions() {
  const lines = Object.entries(layout.commands).flatMap(([name, fields], i) => {
    if (isPlain(fields)) return []
    const parameters = ['to: CommandQueue', ...Object.keys(fields).map((field) => `${field}: number`)]
    return [
      ...docstring(layout.commandTexts[name], '  '), `  ${name}(${parameters.join(', ')}): void {`,
      `    to.queue(${wordExpressions(i + 1, fields).join(', ')})`, '  },',
    ]
  })
  return [...docstring('Queues a command of the others.'), 'export const commands = {', ...lines, '} as const', '']
}

const nativeTypeScript = () => tsFile('What is shared with the addon by number: records, commands, options.', [
  ...Object.entries(layout.constants).filter(([name]) => name !== 'indexBits')
    .flatMap(([name, [value, text]]) => tsConstant(snake(name).toUpperCase(), value, text)),
  ...tsConstant('INDEX_MASK', 2 ** layout.constants.indexBits[0] - 1, 'The index in an id; the rest is a generation.'),
  ...tsNumbers('Family', 'The family in the first word of an address.', Object.entries(layout.family)),
  ...tsList('BACKENDS', 'By number.', layout.backends),
  ...tsNumbers('Purpose', 'What an ArrayBuffer is for.', numbered(layout.purposes)),
  ...tsNumbers('Adoptable', 'What a descriptor of others is adopted as.', numbered(layout.adoptables)),
  ...tsNumbers('RouteAnswer', 'Where a connection goes, besides the numbers of places.',
    Object.entries(layout.routeAnswers)),
  ...tsNumbers('FrameKind', 'How a stream is cut into frames.', numbered(layout.frameKinds)),
  ...tsNumbers('Header', 'Words before the commands.', explained(layout.header)),
  ...tsNumbers('Views', 'What there is to say of the views that were given.',
    Object.entries(layout.views).map(([name, [number, text]]) => [name, number, text])),
  ...tsList('CALLS', 'The system call of an error, by its number; the last five are no calls.',
    layout.calls.map(([name]) => (name === 'none' ? '' : name))),
  ...tsNumbers('Record', 'What a record tells: its first word.', numbered(Object.keys(layout.records), 1)),
  ...Object.entries(layout.records).filter(([, fields]) => fields.length > 1)
    .flatMap(([name, fields]) => tsNumbers(`${pascal(name)}Record`, layout.recordTexts[name], places(fields))),
  ...tsNumbers('Command', 'Commands that say no more than for whom they are.',
    numbered(Object.keys(layout.commands), 1).filter(([name]) => isPlain(layout.commands[name]))),
  'export interface CommandQueue {',
  '  queue(operation: number, id: number, first: number, second: number): void', '}', '',
  ...commandFunctions(),
  ...Object.entries(layout.options).flatMap(([name, option]) => {
    const words = numbered(Object.keys(option.words), firstWord(option))
    return [
      ...tsNumbers(`${pascal(name)}Word`, undefined, words),
      ...tsConstant(`${name.toUpperCase()}_WORDS`, firstWord(option) + words.length),
    ]
  }),
].slice(0, -1).concat(''))

const statsTypeScript = () => tsFile('The words of the Float64Array that a transport counts in; the addon does, too.', [
  ...tsNumbers('Stat', 'Times are nanoseconds.', explained(layout.stats)),
  ...tsConstant('STATS', Object.keys(layout.stats).length),
  ...tsList('LIMITS', 'What a listener limits; their counts follow each other from the first one on.', layout.limits),
  ...tsNumbers('ListenerCount', 'What a listener counts beside them, after them.',
    numbered(Object.keys(layout.listenerCounts), layout.limits.length)
      .map(([name, number]) => [name, number, layout.listenerCounts[name]])),
  ...tsNumbers('ConnectionInfoWord', 'Of a connection that somebody asks about.', explained(layout.connectionInfo)),
  ...tsConstant('CONNECTION_INFO', Object.keys(layout.connectionInfo).length),
  ...tsConstant('LISTENER_COUNTS', layout.limits.length + Object.keys(layout.listenerCounts).length),
])

const FILES = {
  'native/engine/layout.h': engineHeader,
  'native/binding/layout.h': bindingHeader,
  'src/transport/native/layout.ts': nativeTypeScript,
  'src/transport/seam/stats.ts': statsTypeScript,
}

await main(() => {
  const check = process.argv[2] === '--check'
  for (const [file, make] of Object.entries(FILES)) {
    const path = join(ROOT, file)
    const made = make()
    if (!check) writeFileSync(path, made)
    else if (readFileSync(path, 'utf8') !== made) {
      throw new StepFailed(`${file} is not what node scripts/layout.mjs makes`)
    }
  }
})
