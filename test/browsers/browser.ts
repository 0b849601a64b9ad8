/** A headless Chromium, driven by playwright-core: the one that is installed, as nothing is downloaded. */
import { existsSync } from 'node:fs'
import { chromium, type Browser, type Page } from 'playwright-core'
import { patient } from '../support/patience.js'

const PLACES = [
  process.env['MARKETPLACE_CHROMIUM'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome',
]

export const chromiumPath = PLACES.find((path) => path !== undefined && path !== '' && existsSync(path))

/** Why there is no browser, or false. */
export const missingBrowser: string | false = chromiumPath === undefined
  && 'no Chromium is installed (on Debian: apt-get install chromium); MARKETPLACE_CHROMIUM names another one'

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: String(chromiumPath), headless: true, timeout: patient(30_000),
    // Its sandbox needs rights that a container or root doesn't have; only our own pages are opened.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  })
}

/** What went wrong in a page: errors that nobody caught, and messages of the console. */
export function troubles(page: Page): string[] {
  const list: string[] = []
  page.on('pageerror', (error) => list.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') list.push(message.text())
  })
  return list
}
