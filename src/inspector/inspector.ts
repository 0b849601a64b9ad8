/**
 * `inspector()`: the process by which a program lets others look into it; and `MARKETPLACE_INSPECT`, for programs that
 * have none.
 *
 * Owns the beginning and the end of an inspection: both are those of the process, or of the ground VM. Recordings
 * (`MARKETPLACE_RECORD`) and replays (`MARKETPLACE_REPLAY`) are of the first ground VM that is started.
 */
import { readFileSync } from 'node:fs'
import { isMainThread, type MessagePort } from 'node:worker_threads'
import { cryptoModule } from '../support/builtins.js'
import { checkOptions, hostName, integer, ofType, type Check } from '../support/checks.js'
import { argumentError } from '../support/errors.js'
import { log } from '../support/log.js'
import { defineCheckedRecord, type RecordFrom } from '../topic/index.js'
import { AddEndpoint, Inner, Quit, Spawn, type Action } from '../vm/action.js'
import { whenGroundStarts } from '../vm/ground.js'
import type { Process } from '../vm/process.js'
import { role } from '../vm/role.js'
import { endWith } from '../vm/ties.js'
import { isWorkerOfServe, servesPortsWith } from '../workers/inspected.js'
import type { Ground } from '../vm/vm.js'
import { Inspection } from './inspection.js'
import type { Redact } from './preview.js'
import { Recorder } from './recording.js'
import { mayWrite, writesAtEnd } from './recorded-file.js'
import { OUTCOME, outcomeText, recordingIn } from './recording-file.js'
import { Replayer } from './replay.js'
import { Session, type PortGreeting } from './session.js'
import { recordedTrace } from './trace.js'
import type { InspectorServer, ServerOptions } from './server.js'

/**
 * Published by an inspector as long as it listens.
 *
 * @throws TypeError for a URL that is no text
 */
export const inspecting = defineCheckedRecord('inspecting', ['url'], { url: ofType('string') }).of<[url: string]>()
/** A record that `inspecting` makes. */
export type Inspecting = RecordFrom<typeof inspecting>

/** Options of `inspector`. */
export interface InspectorOptions {
  /** Where it listens, from 0 to 65,535; 0 is any free one. Default: 0. */
  readonly port?: number | undefined
  /** The address it listens on. Default: '127.0.0.1', so that only this machine reaches it. */
  readonly host?: string | undefined
  /** What clients must know; at least 16 characters. Default: 32 by chance. */
  readonly token?: string | undefined
  /** Whether clients may only look: not pause, send, kill or change anything. Default: false. */
  readonly readOnly?: boolean | undefined
  /** Replaces values that nobody is to see. It is called for each value that is shown, from the outside in. */
  readonly redact?: Redact | undefined
  /** Whether the address is printed, on standard error. Default: true. */
  readonly print?: boolean | undefined
}

const TOKEN_MIN = 16
const TOKEN_BYTES = 16

const tokenCheck: Check = (call, name, value) => {
  if (typeof value !== 'string' || value.length < TOKEN_MIN) {
    throw argumentError(call, name, `a string of at least ${TOKEN_MIN} characters`, value)
  }
}

const checks = {
  port: integer(0, 65_535), host: hostName, token: tokenCheck, readOnly: ofType('boolean'),
  redact: ofType('function'), print: ofType('boolean'),
}

/**
 * Starts a process that lets others look into the ground VM that it is in, and all VMs inside: a page for browsers, and
 * the protocol of docs/inspector.md. It publishes `inspecting(url)`. It fails when it can't listen, or when the ground
 * VM has an inspector already; it keeps no program running.
 *
 * @throws TypeError or RangeError when an option is wrong
 */
export function inspector(options: InspectorOptions = {}): Spawn<unknown> {
  checkOptions('inspector', options, checks, 'options.')
  const settings = { ...options }
  let begun: Begun | undefined
  let failure: { readonly error: unknown } | undefined
  // From the moment on in which it is started, so that whatever is started behind it is seen.
  const born = ({ vm }: Process): void => {
    try {
      begun = begin(vm.ground, settings)
    } catch (error) {
      failure = { error }
    }
  }
  const boot = (): Action => {
    if (failure !== undefined) throw failure.error
    return new Publishes(begun as Begun)
  }
  return new Spawn(boot, { name: 'inspector', born })
}

/** What the process does: it says where it listens, and ends what has begun when it ends. */
class Publishes extends Inner {
  constructor(private readonly begun: Begun) {
    super()
  }

  perform(process: Process): void {
    const { end, url, tell } = this.begun
    endWith(process, end)
    url.then((found) => {
      if (process.alive) tell(process, new AddEndpoint('inspecting', role('publisher', inspecting(found)), {}))
    }, (error: unknown) => {
      if (!process.alive) return
      // Nobody else may be waiting for it, and a socket's error alone is no fault of the program's.
      log('error', 'the inspector can\'t listen', { reason: error })
      tell(process, new Quit(undefined, error))
    })
    // Without it the process would be garbage until it listens.
    process.enqueue(new AddEndpoint('begins', role('subscriber', ['inspector', process.pid]), {}))
  }
}

/** An inspection, and where it listens. */
interface Begun {
  readonly end: () => void
  readonly url: Promise<string>
  /** Gives a process something to do. */
  readonly tell: (process: Process, action: Action) => void
}

/** Where somebody may look already, as it is recorded. */
const recorded = new WeakMap<Ground, Inspection>()
const withInspector = new WeakSet<Inspection>()

/** @throws Error when there is an inspector already */
function inspectionOf(ground: Ground, redact: Redact | undefined): Inspection {
  const known = recorded.get(ground)
  if (known === undefined) return new Inspection(ground, { redact })
  if (withInspector.has(known)) throw new Error('somebody looks into this ground VM already')
  withInspector.add(known)
  known.redact = redact
  return known
}

/** What is replayed has what an inspector did, and needs none. */
const replayed: Begun = {
  end: () => undefined, url: new Promise(() => undefined), tell: () => undefined,
}

function begin(ground: Ground, {
  port = 0, host = '127.0.0.1', token = cryptoModule().randomBytes(TOKEN_BYTES).toString('hex'), readOnly = false,
  redact, print = true,
}: InspectorOptions): Begun {
  if (ground.tap?.feeds !== undefined) return replayed
  const inspection = inspectionOf(ground, redact)
  let server: InspectorServer | undefined
  let isOver = false
  const listen = async (): Promise<string> => {
    const settings: ServerOptions = { port, host, token, readOnly }
    // Both take their time to load, which only programs with an inspector need.
    const [{ InspectorServer }, { WebSocketServer }] = await Promise.all([import('./server.js'), import('ws')])
    if (isOver) return '' // nobody is there any more to be told
    server = new InspectorServer(inspection, settings, { WebSocketServer })
    const url = await server.listen()
    if (print) process.stderr.write(`inspector: ${url}\n`)
    return url
  }
  return {
    url: listen(),
    tell: (process, action) => { inspection.tell(process, action) },
    end: () => {
      isOver = true
      server?.end()
      if (!withInspector.delete(inspection)) inspection.end()
    },
  }
}

/** Inspections of workers, and how many look by ports. */
const byPorts = new Map<Inspection, number>()

/** Serves a client at the other end of a port: as one of an inspector's, which begins and ends with such clients. */
function servePort(ground: Ground, port: MessagePort): void {
  const inspection = [...byPorts.keys()].find((known) => known.ground === ground && !known.isEnding)
    ?? recorded.get(ground) ?? (ground.tap instanceof Inspection && !ground.tap.isEnding ? ground.tap : undefined)
    ?? new Inspection(ground)
  const isOwn = inspection !== recorded.get(ground) && (byPorts.has(inspection) || inspection.listeners.size === 0)
  if (isOwn) byPorts.set(inspection, (byPorts.get(inspection) ?? 0) + 1)
  let session: Session | undefined
  port.on('message', (message: PortGreeting | string) => {
    if (typeof message === 'string') session?.receive(message)
    else {
      session ??= new Session(inspection, {
        send: (text) => { port.postMessage(text) },
        // Who doesn't read loses the connection at the other end.
        waiting: 0,
        close: () => { port.close() },
      }, message.readOnly)
    }
  })
  port.on('close', () => {
    session?.end()
    if (!isOwn) return
    const left = (byPorts.get(inspection) ?? 1) - 1
    if (left > 0) {
      byPorts.set(inspection, left)
      return
    }
    byPorts.delete(inspection)
    inspection.end()
  })
  port.unref()
}

/** From now on, workers of `serve` in this thread can be looked into. */
export function inspectWorkers(): void {
  servesPortsWith(servePort)
}

/** A variable of the environment that says something. */
function asked(name: string): string | undefined {
  const value = process.env[name]
  return value === '' || value === '0' ? undefined : value
}

/**
 * `MARKETPLACE_RECORD=FILE`: the first ground VM that is started is recorded from its start, and the trace written into
 * the file when it ends, or the program does; `%p` in its name is the program's process id. `=1`: it is recorded, and
 * clients of an inspector can export it.
 */
export function recordAsAsked(): void {
  const file = asked('MARKETPLACE_RECORD')?.replaceAll('%p', String(process.pid))
  // There is one file: threads would write over what the program has recorded.
  if (file === undefined || (file !== '1' && !isMainThread)) return
  let isFirst = true
  whenGroundStarts((ground) => {
    if (!isFirst) return () => undefined
    isFirst = false
    // So would programs that it starts.
    if (file !== '1') delete process.env['MARKETPLACE_RECORD']
    if (file !== '1' && !mayWrite(file)) return () => undefined
    const recorder = new Recorder()
    const inspection = new Inspection(ground, { recorder })
    recorded.set(ground, inspection)
    const write = file === '1' ? undefined : writesAtEnd(file, () => recordedTrace(inspection, recorder))
    return () => {
      write?.()
      inspection.end()
    }
  })
}

/** `MARKETPLACE_REPLAY=FILE`, as `marketplace replay` sets it: the first ground VM that is started is a replay. */
export function replayAsAsked(): void {
  const file = asked('MARKETPLACE_REPLAY')
  // What was recorded is not of threads, nor of programs that it has started.
  if (file === undefined || !isMainThread) return
  let isFirst = true
  whenGroundStarts((ground) => {
    if (!isFirst) return () => undefined
    isFirst = false
    delete process.env['MARKETPLACE_REPLAY']
    new Replayer(ground, recordingIn(JSON.parse(readFileSync(file, 'utf8'))), (outcome) => {
      if (process.send === undefined) {
        process.stderr.write(`${outcomeText(outcome)}\n`)
        process.exit(outcome.is === 'equal' ? 0 : 1)
      }
      process.send({ [OUTCOME]: outcome }, () => process.exit())
    })
    return () => undefined
  })
}

/**
 * `MARKETPLACE_INSPECT=1`, or `=[HOST:]PORT`: every ground VM that is started from now on has an inspector; the first
 * one on that port, others on any.
 */
export function inspectAsAsked(): void {
  const wanted = asked('MARKETPLACE_INSPECT')
  // Workers are looked into by way of the thread that serves.
  if (wanted === undefined || isWorkerOfServe()) return
  const parts = /^(?:(.+):)?(\d+)$/.exec(wanted)
  const port = Number(parts?.[2])
  if (parts === null || port > 65_535) {
    process.emitWarning(`MARKETPLACE_INSPECT must be 1, PORT or HOST:PORT; got '${wanted}'`, 'MarketplaceWarning')
    return
  }
  inspectGrounds(parts[1]?.replace(/^\[|\]$/g, ''), port > 1 ? port : 0)
}

/** Every ground VM that is started from now on has an inspector; the first one on that port, others on any. */
export function inspectGrounds(host: string | undefined, port: number): void {
  let isFirst = true
  whenGroundStarts((ground) => {
    const options = { host, port: isFirst ? port : 0 }
    isFirst = false
    const { url, end } = begin(ground, options)
    url.catch((error: unknown) => {
      end()
      log('error', 'the inspector that is asked for can\'t listen', { reason: error })
    })
    return end
  })
}
