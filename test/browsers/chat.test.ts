/**
 * The chat's page in a real browser, with telnet's kind of guests in the same room. Part of `npm test` where there is a
 * Chromium; with `npm run test:browsers` over each carrier, and with screenshots.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { Browser, Page } from 'playwright-core'
import { Cli } from '../support/cli.js'
import { patient } from '../support/patience.js'
import { client, freePort, until } from '../support/util.js'
import { launch, missingBrowser, troubles } from './browser.js'

const whole = process.env['MARKETPLACE_BROWSERS'] === '1'
const SHOTS = fileURLToPath(new URL('../../../build/screenshots/', import.meta.url))

interface Room {
  readonly cli: Cli
  readonly url: string
  readonly port: number
}

async function startRoom(t: Test, ...args: string[]): Promise<Room> {
  const cli = new Cli(['chat', '--port', '0', ...args])
  t.teardown(() => cli.child.kill('SIGKILL'))
  const port = await cli.listening()
  const line = /^in a browser: (.*)$/m
  await until(() => line.test(cli.stdout) || cli.result !== undefined)
  return { cli, port, url: String(line.exec(cli.stdout)?.[1]) }
}

/** The lines of the log, as the page shows them. */
const lines = (page: Page): Promise<string[]> => page.locator('#log li').allInnerTexts()
const people = (page: Page): Promise<string[]> => page.locator('#people li').allInnerTexts()

async function shows(page: Page, text: string): Promise<void> {
  await page.locator('#log li', { hasText: text }).first().waitFor({ timeout: patient(10_000) })
}

async function say(page: Page, text: string): Promise<void> {
  await page.locator('#text').fill(text)
  await page.keyboard.press('Enter')
}

async function enter(browser: Browser, t: Test, url: string, how: object = {}): Promise<[Page, string[]]> {
  const context = await browser.newContext(how)
  t.teardown(() => context.close())
  const page = await context.newPage()
  const list = troubles(page)
  await page.goto(url)
  await shows(page, 'You are user')
  return [page, list]
}

void t.test('browsers, in a real one', { skip: missingBrowser, timeout: patient(120_000) }, async (t) => {
  const browser = await launch()
  t.teardown(() => browser.close())

  await t.test('two browsers and a guest with telnet: one room', async (t) => {
    const { url, port } = await startRoom(t)
    const [ann, trouble] = await enter(browser, t, url)
    const socket = await client(port)
    t.teardown(() => socket.destroy())
    let heard = ''
    socket.setEncoding('utf8').on('data', (text: string) => { heard += text })
    await shows(ann, 'user2 arrived.')
    const [bob] = await enter(browser, t, url)
    await shows(ann, 'user3 arrived.')
    t.same(await people(ann), ['user1 (you)', 'user2', 'user3'])
    await until(() => heard.includes('user3 arrived.'))
    await say(ann, 'hello 世界 <b>bold</b> <img src=x onerror=alert(1)>')
    socket.write('hello from a terminal \x1b[31mred\n')
    await until(() => heard.includes('user1: hello 世界 <b>bold</b>'))
    for (const page of [ann, bob]) {
      await shows(page, 'user1 hello 世界 <b>bold</b>')
      await shows(page, 'hello from a terminal \ufffd[31mred')
    }
    t.equal(await ann.locator('#log b, #log img').count(), 0, 'what is said is text')
    await bob.close()
    await shows(ann, 'user3 departed.')
    socket.end()
    await shows(ann, 'user2 departed.')
    t.same(await people(ann), ['user1 (you)'])
    t.same(trouble, [], 'and nothing went wrong in the page')
  })

  await t.test('the server goes and comes back: the page says so, and connects again by itself', async (t) => {
    const webPort = await freePort()
    const first = await startRoom(t, '--web-port', String(webPort))
    const [page] = await enter(browser, t, first.url)
    first.cli.signal('SIGINT')
    await first.cli.ended()
    await shows(page, 'The connection is lost.')
    t.match(await page.locator('#state').innerText(), /not connected; next try in \d+ s|connecting again/)
    t.ok(await page.locator('#text').isDisabled())
    t.same(await people(page), [])
    await startRoom(t, '--web-port', String(webPort))
    await page.locator('#state', { hasText: 'you are user1' }).waitFor({ timeout: patient(30_000) })
    await say(page, 'back again')
    await shows(page, 'back again')
    const all = await lines(page)
    t.ok(all.indexOf('The connection is lost.') < all.lastIndexOf('You are user1.'))
  })

  await t.test('a page of another origin may not connect', async (t) => {
    const { url } = await startRoom(t)
    const context = await browser.newContext()
    t.teardown(() => context.close())
    const page = await context.newPage()
    await page.goto('data:text/html,<p>evil')
    const result = await page.evaluate((target) => new Promise((resolve) => {
      const socket = new (globalThis as unknown as { WebSocket: new (url: string) => Record<string, unknown> })
        .WebSocket(target)
      socket['onopen'] = () => { resolve('open') }
      socket['onclose'] = (event: { code: number }) => { resolve(event.code) }
    }), `${url.replace('http', 'ws')}room`)
    t.equal(result, 1006)
  })

  const skip = !whole && 'npm run test:browsers takes screenshots'
  await t.test('narrow and wide, in the light and in the dark', { skip }, async (t) => {
    const { url, port } = await startRoom(t)
    const sockets = await Promise.all(Array.from({ length: 14 }, () => client(port)))
    t.teardown(() => { for (const socket of sockets) socket.destroy() })
    mkdirSync(SHOTS, { recursive: true })
    for (const [name, width, colorScheme] of [
      ['narrow-light', 360, 'light'], ['narrow-dark', 360, 'dark'], ['wide-light', 1200, 'light'],
    ] as const) {
      const [page] = await enter(browser, t, url, { viewport: { width, height: 700 }, colorScheme })
      sockets[0].write(`a long word: ${'x'.repeat(200)}\n`)
      for (let i = 0; i < 30; i++) sockets[i % 14].write(`line ${i} of what is said here, and some more of it\n`)
      await say(page, 'and this is mine')
      await shows(page, 'and this is mine')
      await shows(page, 'line 29')
      const wide = await page.evaluate('document.documentElement.scrollWidth')
      t.ok(Number(wide) <= width, `${name}: nothing sticks out (${String(wide)} px)`)
      const end = await page.evaluate('(() => { const l = document.getElementById("log"); '
        + 'return l.scrollHeight - l.scrollTop - l.clientHeight })()')
      t.ok(Number(end) < 40, `${name}: the last line is seen`)
      await page.screenshot({ path: join(SHOTS, `chat-${name}.png`) })
    }
  })
})
