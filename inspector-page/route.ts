/**
 * Where the reader is: the part of the address after `#`.
 *
 * Owns its form: `#/view`, `#/process/PATH`, `#/event/ID`.
 */
import { useEffect, useState } from 'preact/hooks'

export interface Route {
  readonly view: string
  readonly argument: string
}

function current(): Route {
  const [view = '', argument = ''] = location.hash.replace(/^#\/?/, '').split('/')
  return { view: view === '' ? 'processes' : view, argument: decodeURIComponent(argument) }
}

export function useRoute(): Route {
  const [route, setRoute] = useState(current)
  useEffect(() => {
    const changed = (): void => { setRoute(current()) }
    addEventListener('hashchange', changed)
    return () => { removeEventListener('hashchange', changed) }
  }, [])
  return route
}

export const processLink = (path: string): string => `#/process/${path}`
export const eventLink = (id: number): string => `#/event/${id}`

export function go(to: string): void {
  location.hash = to
}
