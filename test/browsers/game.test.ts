/**
 * The game's page in a real browser. Part of `npm test` where there is a Chromium; with `npm run test:browsers` with
 * screenshots.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import type { Browser, Page } from 'playwright-core'
import { Bot } from '../../examples/game/bot.js'
import { Running } from '../examples/running.js'
import { patient } from '../support/patience.js'
import { freePort, sleep } from '../support/util.js'
import { launch, missingBrowser, troubles } from './browser.js'

const whole = process.env['MARKETPLACE_BROWSERS'] === '1'
const SHOTS = fileURLToPath(new URL('../../../build/screenshots/', import.meta.url))

async function start(t: Test, port: number, ...args: string[]): Promise<{ program: Running, url: string }> {
  const program = new Running(t, 'game', '--port', String(port), ...args)
  return { program, url: `http://127.0.0.1:${await program.port()}/` }
}

async function states(page: Page, text: string | RegExp): Promise<void> {
  await page.locator('#state', { hasText: text }).waitFor({ timeout: patient(20_000) })
}

/** Waits until it is so in the page, whose policy of contents forbids to wait there. */
async function holds(page: Page, expression: string): Promise<void> {
  while (await page.evaluate(expression) !== true) await sleep(20)
}

async function enter(browser: Browser, t: Test, url: string, how: object = {}): Promise<[Page, string[]]> {
  const context = await browser.newContext(how)
  t.teardown(() => context.close())
  const page = await context.newPage()
  const list = troubles(page)
  await page.goto(url)
  await states(page, /^you are \d+;/)
  await holds(page, 'players.has(me)')
  return [page, list]
}

/** Where a page has a player. */
const place = (page: Page, number: string): Promise<{ x: number, y: number }> =>
  page.evaluate(`({ x: players.get(${number}).x, y: players.get(${number}).y })`)

async function bot(t: Test, url: string): Promise<Bot> {
  const made = new Bot(`${url.replace('http', 'ws')}play`)
  t.teardown(() => { made.socket.terminate() })
  return made.joined()
}

/** How much of what the page shows is drawn as a player, near its middle. */
const isDrawn = (page: Page): Promise<boolean> => page.evaluate(`(() => {
  const [x, y] = [canvas.width / 2, canvas.height / 2].map(Math.round)
  const [red, green, blue] = pen.getImageData(x, y, 1, 1).data
  return Math.max(red, green, blue) - Math.min(red, green, blue) > 60
})()`)

void t.test('the game in a browser', { skip: missingBrowser, timeout: patient(120_000) }, async (t) => {
  const browser = await launch()
  t.teardown(() => browser.close())

  await t.test('two players see each other move: by keys and by touch', async (t) => {
    const { url } = await start(t, 0, '--areas', '2', '--spread', '0')
    const [ann, trouble] = await enter(browser, t, url)
    const [bob, more] = await enter(browser, t, url, {
      viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true,
    })
    await states(ann, /1 other is near/)
    await states(bob, /1 other is near/)
    const before = await place(bob, '1')
    t.ok(await ann.locator('#help').isVisible(), 'it says how to move')
    await ann.keyboard.down('ArrowRight')
    await holds(bob, `players.get(1).x > ${before.x + 300}`)
    await ann.keyboard.up('ArrowRight')
    t.notOk(await ann.locator('#help').isVisible(), 'as long as that is news')
    await ann.keyboard.down('w')
    await holds(bob, `players.get(1).y < ${before.y - 300}`)
    await ann.keyboard.up('w')

    const touch = await bob.context().newCDPSession(bob)
    await touch.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: [{ x: 20, y: 320 }] })
    await holds(ann, `players.get(2).x < ${before.x - 300}`)
    await touch.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] })
    for (const page of [ann, bob]) await holds(page, "told === '0 0'")
    for (const number of ['1', '2']) {
      const same = async () => JSON.stringify(await place(ann, number)) === JSON.stringify(await place(bob, number))
      while (!await same()) await sleep(20)
    }
    t.ok(await isDrawn(ann), 'a player is in the middle of the picture')
    await bob.close()
    await states(ann, /nobody else is near/)
    t.same([...trouble, ...more], [], 'and nothing went wrong in the pages')
  })

  await t.test('the server goes and comes back: the page says so, and connects again by itself', async (t) => {
    const port = await freePort()
    const first = await start(t, port)
    const [page] = await enter(browser, t, first.url)
    first.program.child.kill('SIGTERM')
    t.equal(await first.program.end(), 0)
    await states(page, /not connected; next try in \d+ s|connecting again/)
    t.equal(await page.evaluate('players.size'), 0)
    await start(t, port)
    await states(page, 'you are 1')
    await holds(page, 'players.has(me)')
    const { x } = await place(page, '1')
    await page.keyboard.down('d')
    await holds(page, `players.get(1).x > ${x}`)
  })

  const skip = !whole && 'npm run test:browsers takes screenshots'
  await t.test('narrow and wide, in the light and in the dark', { skip }, async (t) => {
    const { url } = await start(t, 0, '--areas', '2', '--spread', '900')
    const bots = await Promise.all(Array.from({ length: 12 }, () => bot(t, url)))
    bots[0].move(127, 0)
    mkdirSync(SHOTS, { recursive: true })
    for (const [name, width, colorScheme] of [
      ['narrow-light', 360, 'light'], ['narrow-dark', 360, 'dark'], ['wide-dark', 1200, 'dark'],
    ] as const) {
      const [page] = await enter(browser, t, url, { viewport: { width, height: 700 }, colorScheme })
      await states(page, /1\d others are near/)
      const wide = await page.evaluate('document.documentElement.scrollWidth')
      t.ok(Number(wide) <= width, `${name}: nothing sticks out (${String(wide)} px)`)
      await holds(page, 'players.size >= 13')
      await page.screenshot({ path: join(SHOTS, `game-${name}.png`) })
      t.ok(await isDrawn(page), `${name}: a player is in the middle`)
    }
  })
})
