/** Numbers, times and files as readers want them. */

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const few = new Intl.NumberFormat('en', { maximumFractionDigits: 1 })

export function number(value: number): string {
  return value > 0 && value < 10 ? few.format(value) : whole.format(value)
}

export function percent(part: number): string {
  return part === 0 ? '0 %' : part < 0.001 ? '<0.1 %' : `${few.format(part * 100)} %`
}

/** In bytes, or thousands of them. */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let at = 0
  let left = value
  for (; left >= 1000 && at < units.length - 1; at++) left /= 1000
  return `${at === 0 ? whole.format(left) : few.format(left)} ${units[at]}`
}

/** Of few milliseconds. */
export function milliseconds(ms: number): string {
  if (ms > 0 && ms < 0.01) return '<0.01 ms'
  return ms < 10 ? `${ms.toFixed(2)} ms` : `${whole.format(ms)} ms`
}

/** Of milliseconds. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms / 1000)
  if (seconds < 60) return `${Math.floor(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

/** A time of the program's clock, in seconds since its start. */
export function clock(ms: number | undefined): string {
  return ms === undefined || ms === 0 ? '' : (ms / 1000).toFixed(3)
}

/** The name in what the program calls a process: `process 4 (counter)` is the counter. */
export function shortName(who: string): string {
  return /^[^(]*? \d+ \((.+)\)$/s.exec(who)?.[1] ?? who
}

/** Has the browser save a text as a file. */
export function save(name: string, type: string, text: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob([text], { type }))
  link.download = name
  link.click()
  setTimeout(() => { URL.revokeObjectURL(link.href) }, 10_000)
}
