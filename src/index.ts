/**
 * The public face of marketplace-native. What is exported here is documented; nothing else is public.
 *
 * Topics and messages, processes and their actions, the ground VM and its event sources; then the
 * drivers.
 */
import './support/instance.js'

export {
  _,
  canonical,
  defineRecord,
  isGround,
  isSpecialization,
  meet,
  NO_MEETING,
  topicLimits,
  wild,
  Wildcard,
  type RecordFrom,
  type RecordOf,
  type RecordType,
  type TopicLimits,
} from './topic/index.js'
export * from './vm/index.js'
export * from './dsl/index.js'
export { tcpBare, type BareTcpOptions } from './drivers/tcp-bare.js'
export { handOff, type HandedOver, type HandOff, type HandOffOptions } from './descriptors/hand-off.js'
export type { Handable, HandableEngine, HandableListener } from './descriptors/handable.js'
export type { InheritedSocket } from './descriptors/inherited.js'
export { systemdSockets } from './descriptors/systemd.js'
export { takeOver, type TakenOver, type TakeOverOptions } from './descriptors/take-over.js'
export { tcpEngine, type ListeningSocket, type TcpEngine } from './drivers/tcp-engine.js'
export type { LocalEnd, TcpOptions } from './drivers/tcp-options.js'
export {
  proxyHeader, readProxyHeader, type ProxyEnd, type ProxyHeader, type ProxyHeaderOptions, type ProxyRead,
  type ProxyReadHeader, type ProxyReadOther, type ProxyReadPart, type ProxyReadWrong, type ProxySsl,
  type ProxyTlv, type ProxyTlvToSend,
} from './drivers/proxy-header.js'
export type { ProxyOptions } from './drivers/proxy-intro.js'
export * from './drivers/tcp-records.js'
export type { TransportName } from './transport/choose.js'
export type {
  BufferLifetime, Dropped, KeepAliveOptions, KeptBuffers, Lookup, SleepIn, SocketAddress, SocketError, Transport,
  TransportBackend, TransportInfo,
} from './transport/seam/transport.js'
export type {
  ChangeableLimits, LimitChanges, LimitName, ListenerLimits, PrefixLength, RateLimit,
} from './transport/seam/limits.js'
export {
  TCP_CHANNELS, UDP_CHANNELS, type TcpDiagnostics, type UdpDiagnostics,
} from './transport/seam/diagnostics.js'
export {
  tlsCredentials, type TlsCipher, type TlsContextOptions, type TlsCredentials, type TlsOptions, type TlsState,
} from './transport/seam/tls.js'
export type { TransportMetrics } from './transport/seam/metrics.js'
export {
  metricInstruments, prometheusText, type MetricInstrument, type MetricPoint, type PrometheusOptions,
} from './transport/seam/telemetry.js'
export { emitterSource, every, iterableSource, lineSource, signalSource } from './drivers/sources.js'
export { tcp, type FlowControlledTcpOptions } from './drivers/tcp.js'
export type {
  DelimiterMode, FixedMode, FlowMode, FrameMode, LengthMode, LinesMode, VarintMode,
} from './transport/seam/framing.js'
export * from './streams/index.js'
export { eventRelay } from './drivers/event-relay.js'
export { timerDriver, timerRelay } from './drivers/timer.js'
export * from './drivers/timer-records.js'
export { inspecting, inspector, type Inspecting, type InspectorOptions, type Redact } from './inspector/index.js'
export { hexDump, spy, tcpSpy, type SpyOptions } from './drivers/spy.js'
export * from './workers/index.js'
export { LOG_CHANNEL, type LogLevel, type LogRecord } from './support/log.js'
export { udp, type UdpOptions } from './drivers/udp.js'
export type { UdpMetrics } from './transport/seam/metrics.js'
export type { UdpSocketOptions, UdpTransport } from './transport/seam/udp-transport.js'
export * from './drivers/udp-records.js'
export { webSocket } from './drivers/web-socket.js'
export type {
  WebSocketOptions, WsCompression, WsConnectOptions, WsVerdict,
} from './drivers/web-socket-options.js'
export {
  wsAddress, wsChannel, wsClose, wsClosed, wsConnected, wsCredit, wsError, wsHandle, wsListener, wsListening, wsPeer,
  type WsAddress, type WsAnswer, type WsChannel, type WsClose, type WsClosed, type WsConnected, type WsCredit,
  type WsEnd, type WsError, type WsHandle, type WsListener, type WsListening, type WsPeer, type WsRequest,
} from './drivers/web-socket-records.js'
export * from './drivers/http-records.js'
export * from './relay/index.js'
