/** A backend's process: it is present in the VM for as long as the backend can be connected to. */
import {
  _, cancelTimer, deleteEndpoint, endpoint, quit, sendMessage, setTimer, tcpChannel, tcpError, tcpHandle,
  timerExpired, type ActionTree, type TcpAddress,
} from 'marketplace-native'
import { stopping } from '../support/run.js'
import { backendUp, drainBackend, nameOf, suspectBackend, type Log } from './records.js'

/** Connects every `interval` milliseconds; that there is a connection is all that is asked for. */
export const backend = (at: TcpAddress, interval: number, log: Log): ActionTree => {
  const label = ['check', at]
  const name = `backend ${nameOf(at)}`
  let state: 'unknown' | 'up' | 'down' = 'unknown'
  let checks = 0
  let over = false

  const turn = (to: 'up' | 'down', why?: Error): ActionTree => {
    if (state === to) return undefined
    const was = state
    state = to
    log(`${name} is ${to}${why === undefined ? '' : `: ${why.message}`}`)
    if (to === 'up') return endpoint.publisher(backendUp(at), { name: 'up' })
    return was === 'up' && deleteEndpoint('up', why)
  }
  const endCheck = (): ActionTree => [
    deleteEndpoint('check'),
    deleteEndpoint('failed'),
    !over && sendMessage(setTimer(label, interval, 'relative')),
  ]
  const check = (): ActionTree => {
    const us = tcpHandle([...label, ++checks])
    return [
      endpoint.subscriber(tcpError(us, at, _), {
        name: 'failed', onMessage: ({ error }) => [turn('down', error), endCheck()],
      }),
      endpoint.subscriber(tcpChannel(at, us, _), {
        name: 'check', onPresence: () => [turn('up'), endCheck()],
      }),
    ]
  }
  const stop = (): ActionTree => {
    over = true
    return sendMessage(cancelTimer(label))
  }
  return [
    endpoint.subscriber(timerExpired(label, _), { onMessage: check }),
    endpoint.subscriber(suspectBackend(at, _), { onMessage: ({ why }) => turn('down', why) }),
    endpoint.subscriber(drainBackend(at), {
      onMessage: () => {
        log(`${name} gets no more clients`)
        return [stop(), quit()]
      },
    }),
    endpoint.subscriber(stopping(_), { onPresence: stop }),
    check(),
  ]
}
