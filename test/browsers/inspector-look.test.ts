/**
 * How the inspector's page looks and how fast it is: contrast, widths, shifts of the layout, lists of ten thousand.
 * Part of `npm test` where there is a Chromium; `npm run test:browsers` takes screenshots and measures frames.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Page } from 'playwright-core'
import { _, endpoint, spawn, type ActionTree } from 'marketplace-native'
import { inspected } from '../inspector/program.js'
import { patient } from '../support/patience.js'
import { client, deferred } from '../support/util.js'
import { launch, missingBrowser } from './browser.js'
import { counter, echo, LIMIT, look, openProcess, rooms, rowOf, tab, touchy } from './inspector-page.js'

const whole = process.env['MARKETPLACE_BROWSERS'] === '1'
const SHOTS = fileURLToPath(new URL('../../../build/screenshots/', import.meta.url))

/** Texts whose contrast with what is behind them is less than 4.5 to 1, as the browser has computed their colors. */
const FAINT = `(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number)
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)
    return 0.2126 * x + 0.7152 * y + 0.0722 * z
  }
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor)
      if (color.length === 3 || color[3] > 0.99) return color
    }
    return [255, 255, 255]
  }
  const found = []
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '')
    if (!own || element.closest('svg, script, style, noscript') || element.getClientRects().length === 0) continue
    if (parseFloat(getComputedStyle(element).fontSize) === 0) continue
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x)
    const contrast = (a + 0.05) / (b + 0.05)
    const what = element.className + ': ' + element.textContent.slice(0, 30)
    if (contrast < 4.5) found.push(what + ' ' + contrast.toFixed(2))
  }
  return found
})()`

const VIEWS: readonly (readonly [name: string, (page: Page) => Promise<void>])[] = [
  ['processes', (page) => tab(page, 'Processes')],
  ['process', (page) => openProcess(page, 'counter')],
  ['trace', async (page) => {
    await tab(page, 'Trace')
    await page.locator('#events .row').nth(3).waitFor()
  }],
  ['event', async (page) => {
    await page.getByRole('button', { name: 'Hold' }).click()
    await page.locator('#events').focus()
    await page.keyboard.press('End')
    await page.keyboard.press('Enter')
    await page.locator('.event-panel svg .event').first().waitFor()
  }],
  ['meetings', async (page) => {
    await tab(page, 'Who meets whom')
    await page.getByLabel('Message', { exact: true }).fill('[\'count\', 5]')
    await page.getByRole('button', { name: 'Who?' }).click()
    await page.locator('.why').first().waitFor()
    await page.getByLabel('Topic', { exact: true }).fill('[')
    await page.getByRole('button', { name: 'Find' }).click()
    await page.getByRole('alert').waitFor()
  }],
  ['sockets', async (page) => {
    await tab(page, 'Sockets')
    await page.locator('#sockets .row').first().click()
    await page.locator('.charts').waitFor()
  }],
  ['network', (page) => tab(page, 'Workers, nodes')],
  ['breakpoints', (page) => tab(page, 'Breakpoints')],
  ['failures', (page) => tab(page, 'Failures')],
  ['act', (page) => tab(page, 'Act')],
]

/** Sends messages for as long as the test runs. */
function keepsSending(
  t: Tap, send: (message: unknown) => void, message: (i: number) => unknown, perSecond: number,
): void {
  let i = 0
  const timer = setInterval(() => { for (let n = 0; n < perSecond / 50; n++) send(message(i++)) }, 20)
  t.teardown(() => { clearInterval(timer) })
}

/** Somebody says something over TCP for as long as the test runs. */
async function talks(t: Tap, port: number): Promise<void> {
  const socket = await client(port)
  const timer = setInterval(() => { socket.write(Buffer.alloc(2000)) }, 100)
  socket.resume()
  t.teardown(() => {
    clearInterval(timer)
    socket.destroy()
  })
}

type Tap = Pick<typeof t, 'teardown'>

/** Ten thousand processes, each of which hears what is for it. */
const many = (): ActionTree => Array.from({ length: 10_000 }, (_at, i) =>
  spawn(() => endpoint.subscriber(['work', i, _], { onMessage: () => undefined }), { name: `worker ${i}` }))

void t.test('the looks of the inspector\'s page', { skip: missingBrowser, timeout: patient(480_000) }, async (t) => {
  const browser = await launch()
  t.teardown(() => browser.close())

  const sizes = whole ? [360, 800, 1600] : [360, 1600]
  for (const width of sizes) {
    for (const colorScheme of ['light', 'dark'] as const) {
      await t.test(`every view, ${width} px, ${colorScheme}`, LIMIT, async (t) => {
        const port = deferred<number>()
        const { url, send } = await inspected(t, () => [counter(), rooms(), touchy(), echo(port.resolve)])
        keepsSending(t, send, (i) => ['count', i], 100)
        await talks(t, await port.promise)
        mkdirSync(SHOTS, { recursive: true })
        const { page, trouble } = await look(t, browser, url, { viewport: { width, height: 900 }, colorScheme })
        await rowOf(page, 'counter').waitFor()
        send(['touch', 1])
        await page.locator('.wrong .top', { hasText: 'touchy' }).waitFor()
        for (const [name, go] of VIEWS) {
          await go(page)
          t.same(await page.evaluate(FAINT), [], `${name}: contrast`)
          const wide = await page.evaluate('document.documentElement.scrollWidth')
          t.ok(Number(wide) <= width, `${name}: nothing sticks out (${String(wide)} px)`)
          if (whole) await page.screenshot({ path: join(SHOTS, `inspector-${name}-${width}-${colorScheme}.png`) })
        }
        t.same(trouble, [])
        await page.context().close()
      })
    }
  }

  await t.test('nothing moves while numbers change', LIMIT, async (t) => {
    const { url, send } = await inspected(t, () => [counter(), rooms()])
    const { page } = await look(t, browser, url)
    await rowOf(page, 'counter').waitFor()
    await page.evaluate(`window.shifts = 0; new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.shifts += entry.value
    }).observe({ type: 'layout-shift' })`)
    keepsSending(t, send, (i) => ['count', i], 1000)
    const row = rowOf(page, 'counter').locator('.figure')
    // Three tables that tell of something new.
    for (let i = 0, text = ''; i < 3; i++) {
      await row.filter({ hasNotText: text === '' ? /^0$/ : text }).waitFor()
      text = await row.innerText()
    }
    t.ok(Number(await page.evaluate('window.shifts')) < 0.01)
  })

  await t.test('ten thousand processes and two thousand events a second', LIMIT, async (t) => {
    const { url, send } = await inspected(t, many)
    keepsSending(t, send, (i) => ['work', i * 7 % 10_000, 'x'], 2000)
    const { page, trouble } = await look(t, browser, url)
    await page.getByText(/^10,00\d of 10,00\d$/).waitFor()
    t.ok(await page.locator('#processes .row').count() < 60, 'only what is seen is in the document')
    await page.locator('#processes').focus()
    await page.keyboard.press('End')
    await page.locator('#processes .row .title', { hasText: 'worker 9999' }).waitFor()
    if (whole) t.comment(`table: ${await frames(page, '#processes')}`)
    await tab(page, 'Trace')
    await page.locator('#events .row').nth(10).waitFor()
    t.ok(await page.locator('#events .row').count() < 80)
    if (whole) {
      t.comment(`trace: ${await frames(page, '#events')}`)
      const plain = await look(t, browser, 'about:blank')
      await plain.page.setContent('<div id="plain" style="height: 600px; overflow: auto">'
        + `${'<p>a line of text</p>'.repeat(1000)}</div>`)
      t.comment(`a page that does nothing else, to compare: ${await frames(plain.page, '#plain')}`)
    }
    t.same(trouble, [])
  })
})

/** Scrolls a list up and down for three seconds, and tells of the frames. */
async function frames(page: Page, list: string): Promise<string> {
  const times = await page.evaluate<number[]>(`new Promise((resolve) => {
    const element = document.querySelector('${list}')
    const times = []
    const begin = performance.now()
    let before = begin
    let at = 0
    const step = (now) => {
      times.push(now - before)
      before = now
      at += 120
      const room = element.scrollHeight - element.clientHeight
      element.scrollTop = at % (2 * room) < room ? at % room : room - at % room
      if (now - begin < 3000) requestAnimationFrame(step)
      else resolve(times.slice(2))
    }
    requestAnimationFrame(step)
  })`)
  const sorted = times.toSorted((a, b) => a - b)
  const sum = times.reduce((all, one) => all + one, 0)
  const of = (part: number): string => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))].toFixed(1)
  return `${(times.length / sum * 1000).toFixed(0)} frames/s while scrolling, median ${of(0.5)} ms, 99th of 100 `
    + `${of(0.99)} ms, longest ${of(1)} ms`
}
