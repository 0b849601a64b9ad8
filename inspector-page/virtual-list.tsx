/**
 * A list of any length of which only the rows on the screen are in the document.
 *
 * Owns the scrolling, the row that is chosen, and the keys: arrows, page keys, Home, End and Enter. Rows all have one
 * height. It is one stop of the tab key; the row is told to screen readers by `aria-activedescendant`.
 */
import type { ComponentChildren, VNode } from 'preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'

export interface VirtualListProps {
  readonly id: string
  readonly label: string
  readonly count: number
  readonly rowHeight: number
  readonly role: 'grid' | 'treegrid' | 'listbox'
  /** The row that is chosen; -1 if none is. */
  readonly chosen: number
  readonly onChoose: (at: number) => void
  readonly onOpen: (at: number) => void
  readonly onKey?: (event: KeyboardEvent, at: number) => void
  /** Where the list is scrolled to is known by its id when it comes back to the screen. */
  readonly keepsPlace?: boolean
  /** Whether it stays at its end while it grows. */
  readonly follows?: boolean
  /** A row is about to be chosen with the mouse: what moves on now would be missed. */
  readonly onPress?: () => void
  /** The reader has scrolled away from the end, or back to it. */
  readonly onEnd?: (isAtEnd: boolean) => void
  /** Properties and content of one row. */
  readonly row: (at: number) => {
    readonly props: { readonly class: string, readonly 'aria-level'?: number, readonly 'aria-expanded'?: boolean }
    readonly children: ComponentChildren
  }
  readonly head?: ComponentChildren
  readonly empty: ComponentChildren
}

/** Rows beyond the edges. */
const MORE = 6

const places = new Map<string, number>()

export function VirtualList(props: VirtualListProps): VNode {
  const { id, count, rowHeight, chosen, follows = false, role } = props
  const scroller = useRef<HTMLDivElement>(null)
  const [top, setTop] = useState(0)
  const [height, setHeight] = useState(400)
  const own = useRef(false)

  useLayoutEffect(() => {
    const element = scroller.current
    if (element === null) return undefined
    const observer = new ResizeObserver(() => { setHeight(element.clientHeight) })
    observer.observe(element)
    setHeight(element.clientHeight)
    if (props.keepsPlace === true) element.scrollTop = places.get(id) ?? 0
    return () => { observer.disconnect() }
  }, [])

  useLayoutEffect(() => {
    const element = scroller.current
    if (!follows || element === null) return
    own.current = true
    element.scrollTop = element.scrollHeight
    setTop(element.scrollTop)
  }, [follows, count, props.row])

  const show = (at: number): void => {
    const element = scroller.current
    if (element === null) return
    const headHeight = props.head === undefined ? 0 : rowHeight
    const from = at * rowHeight
    if (from < element.scrollTop) element.scrollTop = from
    else if (from + rowHeight > element.scrollTop + element.clientHeight - headHeight) {
      element.scrollTop = from + rowHeight - element.clientHeight + headHeight
    }
  }

  useEffect(() => {
    if (chosen >= 0 && !follows && document.activeElement === scroller.current) show(chosen)
  }, [chosen])

  const onScroll = (): void => {
    const element = scroller.current
    if (element === null) return
    setTop(element.scrollTop)
    places.set(id, element.scrollTop)
    if (own.current) own.current = false
    else props.onEnd?.(element.scrollTop + element.clientHeight >= element.scrollHeight - rowHeight)
  }

  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== scroller.current || event.ctrlKey || event.metaKey || event.altKey) return
    const page = Math.max(1, Math.floor(height / rowHeight) - 2)
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: chosen + 1, ArrowUp: chosen - 1, PageDown: chosen + page, PageUp: chosen - page, Home: 0,
      End: count - 1,
    }
    const to = moves[event.key] as number | undefined
    if (to !== undefined && count > 0) {
      event.preventDefault()
      props.onChoose(Math.min(Math.max(to, 0), count - 1))
    } else if (event.key === 'Enter' && chosen >= 0) {
      event.preventDefault()
      props.onOpen(chosen)
    } else {
      props.onKey?.(event, chosen)
    }
  }

  const first = Math.max(0, Math.min(Math.floor(top / rowHeight), count) - MORE)
  const end = Math.min(count, Math.ceil((top + height) / rowHeight) + MORE)
  // As many as there can be at once: a row keeps its element for as long as it is shown.
  const pool = Math.ceil(height / rowHeight) + 2 * MORE + 1
  const rows: VNode[] = []
  for (let at = first; at < end; at++) {
    const { props: own, children } = props.row(at)
    rows.push(
      // Elements are used again for the rows that come into sight.
      <div
        key={at % pool} id={`${id}-${at}`} role={role === 'listbox' ? 'option' : 'row'}
        aria-rowindex={role === 'listbox' ? undefined : at + 1} aria-selected={at === chosen}
        {...own} class={`row ${at === chosen ? 'chosen ' : ''}${own.class}`}
        style={{ transform: `translateY(${at * rowHeight}px)`, height: `${rowHeight}px` }}
        onPointerDown={props.onPress}
        onClick={() => {
          scroller.current?.focus({ preventScroll: true })
          props.onChoose(at)
          props.onOpen(at)
        }}
      >{children}</div>,
    )
  }
  return (
    <div
      ref={scroller} id={id} class="virtual" tabIndex={0} role={role} aria-label={props.label}
      aria-rowcount={role === 'listbox' ? undefined : count}
      aria-activedescendant={chosen >= first && chosen < end ? `${id}-${chosen}` : undefined}
      onScroll={onScroll} onKeyDown={onKeyDown}
      onFocus={({ currentTarget }) => {
        // With the keyboard; the mouse chooses a row of its own.
        if (chosen < 0 && count > 0 && !follows && currentTarget.matches(':focus-visible')) props.onChoose(0)
      }}
    >
      {props.head}
      <div class="rows" role="presentation" style={{ height: `${count * rowHeight}px` }}>{rows}</div>
      {count === 0 ? <p class="empty">{props.empty}</p> : null}
    </div>
  )
}
