/**
 * Colours and type of the charts, for light and dark surroundings, and for a page that switches between them.
 *
 * Invariants: an arm has the same colour, dash and symbol in every chart; text has a contrast of at least
 * 4.5 to the background, everything else of 3; no two arms are told apart by colour alone (lines also
 * differ in dash and symbol, and carry their names).
 */

export interface Theme {
  readonly text: string
  /** Second-rank text: captions, axis labels. */
  readonly muted: string
  readonly grid: string
  /** The noise band. */
  readonly band: string
  readonly arm: (name: string) => string
}

export type ThemeName = 'light' | 'dark'

/** How an arm looks in every chart. */
interface Style {
  readonly light: string
  readonly dark: string
  readonly dash: readonly number[]
  readonly symbol: 'circle' | 'square' | 'triangle-up' | 'triangle-down' | 'diamond' | 'cross'
}

const SOLID: readonly number[] = []
const LONG = [7, 3]
const SHORT = [2, 2]
const MIXED = [8, 3, 2, 3]

/** The main ones of ours are blue; the limits have no hue. */
const styles: Readonly<Record<string, Style>> = {
  epoll: { light: '#0a58a8', dark: '#6cb6ff', dash: SOLID, symbol: 'circle' },
  ours: { light: '#0a58a8', dark: '#6cb6ff', dash: SOLID, symbol: 'circle' },
  'ours-io_uring': { light: '#3b8fd6', dark: '#2f81d9', dash: LONG, symbol: 'square' },
  io_uring: { light: '#3b8fd6', dark: '#2f81d9', dash: LONG, symbol: 'square' },
  node: { light: '#5b6bd0', dark: '#98a6ff', dash: SHORT, symbol: 'triangle-up' },
  borrowed: { light: '#2f6f8f', dark: '#8fd0ee', dash: MIXED, symbol: 'square' },
  'busy-poll': { light: '#4a7a1e', dark: '#a3d468', dash: MIXED, symbol: 'triangle-down' },
  'nested-1': { light: '#2a7f9e', dark: '#67c9e8', dash: SOLID, symbol: 'square' },
  'nested-2': { light: '#1f7a7a', dark: '#54c4c0', dash: LONG, symbol: 'diamond' },
  'nested-5': { light: '#3f5f7f', dark: '#a9c3dd', dash: SHORT, symbol: 'cross' },
  inspected: { light: '#6a5acd', dark: '#b8aeff', dash: SHORT, symbol: 'square' },
  tcp: { light: '#7048c6', dark: '#c0a5ff', dash: LONG, symbol: 'triangle-up' },
  net: { light: '#1c7ed6', dark: '#74c0fc', dash: MIXED, symbol: 'circle' },
  'node-net': { light: '#b35900', dark: '#f0a030', dash: MIXED, symbol: 'diamond' },
  bun: { light: '#a8457f', dark: '#e58fc0', dash: SOLID, symbol: 'cross' },
  deno: { light: '#00795a', dark: '#2fc39a', dash: LONG, symbol: 'triangle-down' },
  uws: { light: '#9b2226', dark: '#ff7b6b', dash: SHORT, symbol: 'square' },
  python: { light: '#7a6a00', dark: '#d9c84a', dash: MIXED, symbol: 'circle' },
  erlang: { light: '#6b3fa0', dark: '#b79cf0', dash: SOLID, symbol: 'triangle-up' },
  'udp-bare': { light: '#2f6f8f', dark: '#8fd0ee', dash: MIXED, symbol: 'square' },
  'udp-bare-io_uring': { light: '#2a7f9e', dark: '#67c9e8', dash: LONG, symbol: 'diamond' },
  'node-dgram': { light: '#b35900', dark: '#f0a030', dash: MIXED, symbol: 'diamond' },
  'c-mmsg': { light: '#1f2328', dark: '#f0f6fc', dash: SHORT, symbol: 'diamond' },
  'c-epoll': { light: '#1f2328', dark: '#f0f6fc', dash: SHORT, symbol: 'diamond' },
  'c-io_uring': { light: '#6e7781', dark: '#9ba3ac', dash: SOLID, symbol: 'cross' },
}

/** For arms that have no style of their own. */
const others: readonly Style[] = [
  { light: '#0b7285', dark: '#3bc9db', dash: SOLID, symbol: 'circle' },
  { light: '#8a5a00', dark: '#ffc078', dash: LONG, symbol: 'square' },
  { light: '#c2255c', dark: '#faa2c1', dash: SHORT, symbol: 'triangle-up' },
  { light: '#2b8a3e', dark: '#8ce99a', dash: MIXED, symbol: 'diamond' },
  { light: '#5f3dc4', dark: '#b197fc', dash: LONG, symbol: 'cross' },
  { light: '#495057', dark: '#ced4da', dash: SHORT, symbol: 'triangle-down' },
]

const surroundings = {
  light: { background: '#ffffff', text: '#1f2328', muted: '#59636e', grid: '#d1d9e0', band: '#8c959f' },
  dark: { background: '#0d1117', text: '#f0f6fc', muted: '#9198a1', grid: '#3d444d', band: '#b1bac4' },
} as const

export const FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"

/** Some number for a name, the same in every run. */
function hash(name: string): number {
  let sum = 0
  for (const letter of name) sum = (sum * 31 + (letter.codePointAt(0) as number)) >>> 0
  return sum
}

/** An identical arm looks like the arm that it repeats. */
export function styleOf(arm: string): Style {
  const name = arm.replace(/-twin$/, '')
  return styles[name] ?? others[hash(name) % others.length]
}

export function themeOf(name: ThemeName): Theme {
  return { ...surroundings[name], arm: (arm) => styleOf(arm)[name] }
}

/** What the name of an arm looks like in CSS. */
const property = (arm: string): string => `--arm-${arm.replace(/[^\w-]/g, '-')}`

/** Colours by reference: `pageVariables` says what they are. */
export const pageTheme: Theme = {
  text: 'var(--text)',
  muted: 'var(--muted)',
  grid: 'var(--grid)',
  band: 'var(--band)',
  arm: (arm) => `var(${property(arm)})`,
}

/** The CSS declarations that `pageTheme` refers to. */
export function pageVariables(theme: ThemeName, arms: Iterable<string>): string {
  const general = Object.entries(surroundings[theme]).map(([name, colour]) => `--${name}: ${colour};`)
  const own = [...new Set(arms)].map((arm) => `${property(arm)}: ${styleOf(arm)[theme]};`)
  return [...general, ...own].join(' ')
}
