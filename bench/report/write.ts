/**
 * Reads results and writes the report: `report.html`, and each of the README's charts for light and for
 * dark surroundings.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeDirectories } from '../lib/directories.js'
import { FORMAT, type BenchReport } from '../lib/result.js'
import { readmeCharts } from './charts.js'
import { renderPage } from './page.js'
import { renderCaptioned } from './svg.js'
import { themeOf, type ThemeName } from './theme.js'

const THEMES: readonly ThemeName[] = ['light', 'dark']

/** Results as `npm run bench -- --json FILE` writes them; throws, saying why, on anything else. */
export function readResults(file: string): BenchReport {
  const text = readFileSync(file, 'utf8')
  let found: unknown
  try {
    found = JSON.parse(text)
  } catch (error) {
    throw new Error(`${file}: not JSON: ${(error as Error).message}`, { cause: error })
  }
  const format = (found as { format?: unknown } | null)?.format
  if (typeof format !== 'number') {
    throw new Error(`${file}: these aren't results of \`npm run bench -- --json\``)
  }
  if (format !== FORMAT) {
    throw new Error(`${file}: results of format ${format}; this program reads format ${FORMAT}`)
  }
  return found as BenchReport
}

/** Writes all files and returns their paths. The directory is made where it isn't there. */
export async function writeReport(report: BenchReport, directory: string): Promise<string[]> {
  makeDirectories(directory)
  const written: string[] = []
  const write = (name: string, text: string): void => {
    const path = join(directory, name)
    writeFileSync(path, text)
    written.push(path)
  }
  write('report.html', await renderPage(report))
  for (const chart of readmeCharts(report)) {
    for (const name of THEMES) {
      const theme = themeOf(name)
      const svg = await renderCaptioned(chart.plot(theme), chart.words, theme)
      write(`${chart.name}-${name}.svg`, `${svg}\n`)
    }
  }
  return written
}
