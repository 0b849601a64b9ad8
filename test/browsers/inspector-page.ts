/** What the tests of the inspector's page share: a program to look at, and the page that looks. */
import { readFile } from 'node:fs/promises'
import type { Test } from 'tap'
import type { Browser, Locator, Page } from 'playwright-core'
import {
  _, atMetaLevel, endpoint, nestedVm, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpListener, tcpListening,
  transition,
  type ActionTree,
} from 'marketplace-native'
import { patient } from '../support/patience.js'
import { troubles } from './browser.js'

export const WAIT = { timeout: patient(15_000) }

/** Of one test, on a machine that has nothing else to do. */
export const LIMIT = { timeout: patient(60_000) }

/** Values that are to be shown as they are, and not to do anything. */
export const HOSTILE = '<img src=x onerror="window.hacked = true"><script>window.hacked = true</script>'

interface Count {
  readonly count: number
  readonly last: unknown
  readonly deep: unknown
}

/** Counts what it hears, and says so to a listener. */
export const counter = (): ActionTree => [
  spawn(() => transition<Count>({ count: 0, last: HOSTILE, deep: { a: { b: [1, 2, { c: 3n }] } } },
    endpoint.subscriber(['count', _], {
      onMessage: ([, what], state) => transition({ ...state, count: state.count + 1, last: what },
        sendMessage(['counted', state.count + 1])),
    })), { name: 'counter' }),
  spawn(() => endpoint.subscriber(['counted', _], { onMessage: () => undefined }), { name: 'listener' }),
]

/** Fails when it is told to. */
export const touchy = (): ActionTree => spawn(() => transition({ patience: 1 }, endpoint.subscriber(['touch', _], {
  onMessage: () => { throw new Error(`touched ${HOSTILE}`) },
})), { name: 'touchy' })

/** A VM in a VM, with processes in both. */
export const rooms = (): ActionTree => nestedVm(() => [
  spawn(() => atMetaLevel(endpoint.subscriber(['to', 'house', _], { onMessage: () => undefined })), { name: 'porter' }),
  nestedVm(() => spawn(() => [
    endpoint.subscriber(['to', 'cellar'], { onMessage: () => undefined }),
    // As long as it waits for something outside, a VM doesn't end.
    atMetaLevel(endpoint.subscriber(['knock'], { onMessage: () => undefined })),
  ], { name: 'mouse' }), { name: 'cellar' }),
], { name: 'house' })

/** An echo of TCP, a process for each connection. @param onPort is told where it listens */
export const echo = (onPort: (port: number) => void): ActionTree => {
  const here = tcpListener(0)
  return [
    tcpBare(),
    spawn(() => [
      endpoint.subscriber(tcpChannel(_, here, _), {
        interest: 'observer',
        onPresence: ({ source: them, destination: us }) => spawn(() => endpoint.subscriber(tcpChannel(them, us, _), {
          onAbsence: () => quit(),
          onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
        }), { name: 'session' }),
      }),
      endpoint.subscriber(tcpListening(here, _), { onPresence: ({ address }) => { onPort(address.port) } }),
    ], { name: 'echo' }),
  ]
}

/** The page, in a window of its own. */
export async function look(
  t: Test, browser: Browser, url: string, how: object = {},
): Promise<{ readonly page: Page, readonly trouble: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, acceptDownloads: true, ...how })
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.setDefaultTimeout(WAIT.timeout)
  const trouble = troubles(page)
  await page.goto(url)
  return { page, trouble }
}

/** The row of the table of processes with that name. */
export const rowOf = (page: Page, name: string): Locator =>
  page.locator('#processes .row').filter({ has: page.locator('.title', { hasText: new RegExp(`(^|/ )${name}$`) }) })

/** Goes to the page of the process with that name. */
export async function openProcess(page: Page, name: string): Promise<void> {
  await tab(page, 'Processes')
  await rowOf(page, name).first().click()
  await page.locator('h1', { hasText: name }).waitFor()
}

export const tab = (page: Page, name: string): Promise<void> =>
  page.locator('nav a', { hasText: name }).click()

/** The text of a file that a click saves. */
export async function saved(
  page: Page, click: () => Promise<void>,
): Promise<{ readonly name: string, readonly path: string, readonly text: string }> {
  const [download] = await Promise.all([page.waitForEvent('download'), click()])
  const path = await download.path()
  return { name: download.suggestedFilename(), path, text: await readFile(path, 'utf8') }
}
