/** The virtual machine: what the rest of the project uses of this folder. */
export {
  Action,
  addEndpoint,
  atMetaLevel,
  deleteEndpoint,
  kill,
  nestedVm,
  quit,
  sendFeedback,
  sendMessage,
  spawn,
  yieldTurn,
  type Boot,
  type NestedVmOptions,
  type Pid,
  type SpawnOptions,
} from './action.js'
export {
  transition,
  Transition,
  type ActionTree,
  type Handler,
  type HandlerResult,
  type Handlers,
} from './handler.js'
export {
  role,
  Role,
  type AbsenceEvent,
  type EndpointEvent,
  type Interest,
  type MessageEvent,
  type Orientation,
  type PresenceEvent,
} from './role.js'
export {
  answer, answerError, asking, question, type Answer, type AnswerError, type Asking, type AskingOptions,
  type AskOptions, type Question,
} from './asking.js'
export {
  childReady, childWanted, stopSupervisor, supervise, supervising, supervisor, type ChildReady, type ChildWanted,
  type StopSupervisor, type SupervisedChild, type SuperviseOptions, type Supervising, type SupervisionBackoff,
  type SupervisionStrategy, type SupervisorOptions,
} from './supervise.js'
export { eventSource, EventSource, type EventSink, type Release } from './event-source.js'
export { withAsyncContext } from './async-context.js'
export type { Shutdown, ShutdownOptions, ShutdownReport } from './shutdown.js'
export { groundVm, type GroundVm, type GroundVmOptions } from './ground.js'
