/**
 * A second VM, for tests only: semantics.md as directly as it can be written. VMs are immutable values,
 * everything is found by linear scans, a nested VM is a process whose state is a VM, and what crosses
 * levels is handed from each VM to the next one.
 *
 * Orders that semantics.md leaves open are the real VM's here, so that traces can be compared exactly.
 * They are these, and nothing else depends on them:
 * - Processes have their turns in the order in which they became ready (`markReady`); one that ended
 *   meanwhile keeps its place. A new VM is ready, so is one that is busy inside.
 * - In the turn of a VM the round inside comes before the actions that it had in its queue (`turn`).
 * - A quitting process's endpoints go in the order in which they were installed: its own or, for a VM,
 *   those of the processes inside; then those further out (`quit`).
 * - Peers and receivers come in the order that the test imposes (`World.order`).
 * - What comes for an endpoint without a handler for it doesn't count as delivered, so it gives a VM no
 *   round (`listens`); nor does what comes for one that its process has forgotten.
 */
import { meeting } from './naive-topic.js'
import {
  atLevel, end, enqueue, find, get, Impossible, innerOf, markReady, newProcess, noVm, read, sameName,
  sameRole, update,
  type Action, type Continuation, type Endpoint, type Event, type Path, type Process, type Role,
  type SpawnAction, type Vm, type World,
} from './naive-state.js'
import { DEPTH_MAX, type EventKind, type Orientation, type Term } from './program.js'

/** Runs a program until nothing is queued. */
export function runNaive(world: World, boot: () => unknown): Vm {
  let vm = spawn(world, noVm(0), 0, { kind: 'spawn', boot, nested: false, parent: undefined, path: [] })
  while (vm.ready.length > 0) vm = runRound(world, vm)
  return vm
}

/** One turn for each process that is ready, then the collection of those to which nothing can happen. */
function runRound(world: World, before: Vm): Vm {
  let vm = before
  for (const pid of before.ready) {
    vm = { ...vm, ready: vm.ready.slice(1) }
    if (!get(vm, pid).dead) vm = turn(world, vm, pid)
  }
  for (const { pid } of vm.processes.filter((process) => isIdle(vm, process))) {
    world.counts.collected++
    vm = update(vm, pid, { dead: true })
  }
  return vm
}

/** Whether a process may be collected. */
export function isIdle(vm: Vm, { pid, dead, queue, metas, pending, inner }: Process): boolean {
  return (
    !dead && queue.length === 0 && pending === 0 && !vm.ready.includes(pid) &&
    metas.every((endpoint) => endpoint.forgotten) &&
    !vm.installed.some((endpoint) => endpoint.owner === pid) &&
    (inner === undefined || inner.ready.length === 0)
  )
}

/** The queue is taken whole; each action takes full effect before the next one starts. */
function turn(world: World, before: Vm, pid: number): Vm {
  const { queue, inner } = get(before, pid)
  let vm = update(before, pid, { queue: [] })
  if (inner !== undefined) vm = passOut(update(vm, pid, { inner: runRound(world, inner) }), pid)
  for (const action of queue) {
    if (get(vm, pid).dead) return vm
    try {
      vm = perform(world, vm, pid, action)
    } catch (error) {
      if (!(error instanceof Impossible)) throw error
      return quit(world, vm, pid, error)
    }
  }
  return get(vm, pid).dead ? vm : stayBusy(vm, pid)
}

/** What a VM has for the VM around it is queued there. */
function passOut(vm: Vm, pid: number): Vm {
  const inner = innerOf(get(vm, pid))
  return enqueue(update(vm, pid, { inner: { ...inner, out: [] } }), pid, inner.out)
}

function stayBusy(vm: Vm, pid: number): Vm {
  const { inner } = get(vm, pid)
  return inner !== undefined && inner.ready.length > 0 ? markReady(vm, pid) : vm
}

/** @throws Impossible, before anything has changed */
function perform(world: World, vm: Vm, pid: number, action: Action): Vm {
  switch (action.kind) {
    case 'send':
      return deliver(world, vm, pid, action.body, action.orientation)
    case 'add':
      return add(world, vm, pid, action)
    case 'install':
      return install(world, vm, { ...blank(pid, action.id, action.role), inside: action.inside })
    case 'delete':
      return uninstall(
        world, vm, vm.installed.find((e) => e.owner === pid && sameName(e.name, action.name)), action.reason,
      )
    case 'uninstall':
      return uninstall(world, vm, vm.installed.find((e) => e.id === action.id), action.reason)
    case 'spawn':
      return spawn(world, vm, pid, action)
    case 'quit':
      if (action.pid !== undefined && action.pid !== pid && find(vm, action.pid)?.dead === false) {
        world.counts.kill++
      }
      return quit(world, vm, action.pid ?? pid, action.reason)
    case 'yield':
      return resume(world, vm, pid, action.path, action.run)
    case 'meta':
      return passMeta(world, vm, pid, action.action)
  }
}

const blank = (owner: number, id: number, role: Role): Endpoint => ({
  id, role, owner, name: undefined, handlers: {}, inside: undefined, levels: 0, forgotten: false, serial: 0,
})

function add(world: World, vm: Vm, pid: number, action: Extract<Action, { kind: 'add' }>): Vm {
  const { name, role, handlers } = action
  const old = vm.installed.find((e) => e.owner === pid && sameName(e.name, name))
  if (old === undefined) {
    return install(world, vm, { ...blank(pid, world.ids++, role), name, handlers })
  }
  checkRole(world, old, role)
  return { ...vm, installed: vm.installed.map((e) => (e === old ? { ...old, handlers } : e)) }
}

function checkRole(world: World, old: Endpoint, role: Role): void {
  world.counts[sameRole(old.role, role) ? 'replaced' : 'mismatch']++
  if (!sameRole(old.role, role)) throw new Impossible('endpoint  is already a ')
}

function install(world: World, vm: Vm, endpoint: Endpoint): Vm {
  const installed = { ...endpoint, serial: world.serials++ }
  return tell(world, { ...vm, installed: [...vm.installed, installed] }, installed, 'presence', undefined)
}

function uninstall(world: World, vm: Vm, endpoint: Endpoint | undefined, reason: unknown): Vm {
  if (endpoint === undefined) return vm
  return tell(
    world, { ...vm, installed: vm.installed.filter((e) => e !== endpoint) }, endpoint, 'absence', reason,
  )
}

/** For every peer: first the peer hears, then at once the endpoint that came or went. */
function tell(world: World, before: Vm, endpoint: Endpoint, type: EventKind, reason: unknown): Vm {
  let vm = before
  const { orientation, topic } = endpoint.role
  for (const peer of others(world, vm, endpoint.owner, orientation, topic)) {
    const [common] = meeting(topic, peer.role.topic) ?? []
    const hears = (listener: Endpoint, { role }: Endpoint): void => {
      if (role.interest !== 'participant' && listener.role.interest !== 'everything') return
      vm = hear(world, vm, listener, { type, role: { ...role, topic: common }, reason })
    }
    hears(peer, endpoint)
    hears(endpoint, peer)
  }
  return vm
}

/** Endpoints of the other orientation whose topics meet this one: those of the process itself first. */
function others(
  world: World, vm: Vm, pid: number, orientation: Orientation, topic: Term,
): readonly Endpoint[] {
  const all = vm.installed
    .filter((e) => e.role.orientation !== orientation && meeting(topic, e.role.topic) !== undefined)
    .sort((a, b) => world.order(a.serial) - world.order(b.serial) || a.serial - b.serial)
  return [...all.filter((e) => e.owner === pid), ...all.filter((e) => e.owner !== pid)]
}

function deliver(world: World, before: Vm, pid: number, body: Term, orientation: Orientation): Vm {
  const role: Role = { orientation, topic: body, interest: 'participant' }
  return others(world, before, pid, orientation, body)
    .filter((endpoint) => listens(before, endpoint, 'message'))
    .reduce((vm, endpoint) => hear(world, vm, endpoint, { type: 'message', role }), before)
}

/** The same endpoint as the process inside knows it. */
function further(inner: Vm, { id, inside }: Endpoint): Endpoint {
  const endpoint = get(inner, inside as number).metas.find((e) => e.id === id)
  if (endpoint === undefined) throw new Error('the model is wrong: an endpoint that nobody asked for')
  return endpoint
}

/** Whether an event counts as delivered. */
function listens(vm: Vm, endpoint: Endpoint, type: EventKind): boolean {
  if (endpoint.forgotten) return false
  if (endpoint.inside === undefined) return endpoint.handlers[type] !== undefined
  const inner = innerOf(get(vm, endpoint.owner))
  return listens(inner, further(inner, endpoint), type)
}

function hear(world: World, vm: Vm, endpoint: Endpoint, event: Event): Vm {
  return listens(vm, endpoint, event.type) ? descend(world, vm, endpoint, event) : vm
}

function descend(world: World, vm: Vm, endpoint: Endpoint, event: Event, forgotten = false): Vm {
  const { owner, inside, handlers } = endpoint
  const lost = forgotten || endpoint.forgotten
  if (inside !== undefined) {
    return within(world, vm, owner, (inner) => {
      const next = further(inner, endpoint)
      if (!lost) world.counts[next.inside === undefined ? 'metaEvent' : 'farEvent']++
      return descend(world, inner, next, event, lost)
    })
  }
  return lost ? vm : invoke(world, vm, owner, (state) => handlers[event.type]?.(event, state))
}

/** Something is delivered into a VM: it runs one round. If it has been killed, what comes of it is lost. */
function within(world: World, vm: Vm, pid: number, change: (inner: Vm) => Vm): Vm {
  const process = get(vm, pid)
  const inner = change(innerOf(process))
  if (process.dead) return vm
  return stayBusy(passOut(update(vm, pid, { inner: runRound(world, inner) }), pid), pid)
}

/** Runs a handler or continuation. One that throws counts as having returned a quit. */
function invoke(world: World, vm: Vm, pid: number, handler: Continuation): Vm {
  const { state, dead } = get(vm, pid)
  if (dead) return invokeLost(vm, () => handler(state))
  let result
  try {
    result = read(handler(state), state)
  } catch (error) {
    world.counts.crash++
    result = { state, actions: [{ kind: 'quit', pid: undefined, reason: error } as const] }
  }
  return enqueue(update(vm, pid, { state: result.state }), pid, result.actions)
}

/** Runs a handler of a process that is going: what it returns is thrown away. */
function invokeLost(vm: Vm, handler: () => unknown): Vm {
  try {
    handler()
  } catch {
    // Lost, too.
  }
  return vm
}

function spawn(world: World, before: Vm, pid: number, action: SpawnAction): Vm {
  const child = before.nextPid
  let vm: Vm = { ...before, nextPid: child + 1 }
  if (action.nested) {
    world.counts.nested++
    if (vm.depth + 1 >= DEPTH_MAX) world.counts.deepest++
    const inner = spawn(world, noVm(vm.depth + 1), 0, { ...action, nested: false, parent: undefined })
    vm = markReady({ ...vm, processes: [...vm.processes, newProcess(child, { inner })] }, child)
  } else {
    vm = boot(world, vm, child, action.boot)
  }
  const { parent, path } = action
  return parent === undefined ? vm : resume(world, vm, pid, path, (state) => parent(child, state))
}

function boot(world: World, vm: Vm, pid: number, first: () => unknown): Vm {
  try {
    const { state, actions } = read(first(), undefined)
    return enqueue({ ...vm, processes: [...vm.processes, newProcess(pid, { state })] }, pid, actions)
  } catch {
    world.counts.bootFailure++
    return vm
  }
}

/** A continuation comes back to the process at the end of the path, if that is still alive. */
function resume(world: World, before: Vm, pid: number, path: Path, run: Continuation): Vm {
  const vm = settle(before, pid, path)
  return isAlive(vm, pid, path) ? runWithin(world, vm, pid, path, run) : vm
}

function settle(vm: Vm, pid: number, [next, ...path]: Path): Vm {
  if (next === undefined) return vm
  const inner = innerOf(get(vm, pid))
  const settled = update(inner, next, { pending: get(inner, next).pending - 1 })
  return update(vm, pid, { inner: settle(settled, next, path) })
}

function isAlive(vm: Vm, pid: number, [next, ...path]: Path): boolean {
  const process = get(vm, pid)
  return !process.dead && (next === undefined || isAlive(innerOf(process), next, path))
}

function runWithin(world: World, vm: Vm, pid: number, [next, ...path]: Path, run: Continuation): Vm {
  if (next === undefined) return invoke(world, vm, pid, run)
  return within(world, vm, pid, (inner) => runWithin(world, inner, next, path, run))
}

/** All its endpoints go, here and further out; what its own handlers return is thrown away. */
function quit(world: World, before: Vm, pid: number, reason: unknown): Vm {
  const process = find(before, pid)
  if (process === undefined || process.dead) return before
  world.counts.quit++
  let vm: Vm = { ...before, processes: before.processes.map((p) => (p === process ? end(p) : p)) }
  for (const endpoint of before.installed.filter((e) => e.owner === pid)) {
    vm = uninstall(world, vm, vm.installed.find((e) => e.id === endpoint.id), reason)
  }
  const left = process.metas.filter((e) => !e.forgotten)
  vm = update(vm, pid, { metas: process.metas.map((e) => ({ ...e, forgotten: true })) })
  return { ...vm, out: [...vm.out, ...left.map((e) => leave(e.levels, e.id, reason))] }
}

const leave = (levels: number, id: number, reason: unknown): Action =>
  atLevel(levels - 1, { kind: 'uninstall', id, reason })

/** Hands an action to the VM around this one, which performs it as the process that this VM is there. */
function passMeta(world: World, vm: Vm, pid: number, first: Action): Vm {
  let levels = 1
  let action = first
  while (action.kind === 'meta') {
    levels++
    action = action.action
  }
  if (levels > vm.depth) {
    world.counts.noLevel++
    throw new Impossible(' is impossible: ')
  }
  const { metas, pending } = get(vm, pid)
  const known = metas.find((e) => !e.forgotten && e.levels === levels && isMeant(e, action))
  const change = (next: Partial<Process>, out?: Action): Vm => {
    const changed = update(vm, pid, next)
    return out === undefined ? changed : { ...changed, out: [...changed.out, atLevel(levels - 1, out)] }
  }
  const replace = (more: Partial<Endpoint>): Partial<Process> => ({
    metas: metas.map((e) => (e === known ? { ...e, ...more } : e)),
  })
  switch (action.kind) {
    case 'add': {
      const { name, role, handlers } = action
      if (known === undefined) {
        return change(...asking({ ...blank(pid, world.ids++, role), name, handlers, levels }, metas))
      }
      checkRole(world, known, role)
      return change(replace({ handlers }))
    }
    case 'install':
      return change(
        ...asking({ ...blank(pid, action.id, action.role), inside: action.inside, levels }, metas),
      )
    case 'delete':
    case 'uninstall':
      if (known === undefined) return vm
      return change(replace({ forgotten: true }), { kind: 'uninstall', id: known.id, reason: action.reason })
    case 'yield':
      return change({ pending: pending + 1 }, { ...action, path: [pid, ...action.path] })
    case 'spawn':
      if (action.parent === undefined) return change({}, action)
      return change({ pending: pending + 1 }, { ...action, path: [pid, ...action.path] })
    default:
      return change({}, action)
  }
}

function asking(endpoint: Endpoint, metas: readonly Endpoint[]): [Partial<Process>, Action] {
  const { id, role, owner } = endpoint
  return [{ metas: [...metas, endpoint] }, { kind: 'install', id, role, inside: owner }]
}

/** Whether a meta action is about an endpoint: by name for the process's own, by id for those inside. */
function isMeant(endpoint: Endpoint, action: Action): boolean {
  if (action.kind === 'uninstall') return endpoint.id === action.id
  if (action.kind !== 'add' && action.kind !== 'delete') return false
  return endpoint.inside === undefined && sameName(endpoint.name, action.name)
}
