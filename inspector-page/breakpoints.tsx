/** Breakpoints: where events are held up; and what is paused. */
import type { VNode } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { Choice, onSend, TextField, useAsked } from './form.js'
import { messageOf, model, titleOf, useModel } from './model.js'
import { processLink } from './route.js'
import { number } from './text.js'
import { Section } from './value.js'

interface Breakpoint {
  readonly id: number
  readonly on: string
  readonly topic?: string
  readonly path?: string
  readonly who?: string
}

const KINDS = [
  ['event', 'any event'], ['message', 'a message'], ['presence', 'a presence'], ['absence', 'an absence'],
  ['reason', 'an absence with a reason'], ['exception', 'a handler that throws'],
] as const

export function Breakpoints(): VNode {
  const { rows, canAct, connection, hello, groundPaused } = useModel()
  const [list, setList] = useState<readonly Breakpoint[]>([])
  const [topic, setTopic] = useState('')
  const [path, setPath] = useState('')
  const [on, setOn] = useState('message')
  const { errors, ask } = useAsked<unknown>(['topic', 'path'])
  const load = async (): Promise<void> => {
    if (!connection.open) return
    try {
      setList((await connection.ask<{ readonly breakpoints: Breakpoint[] }>('breaks')).breakpoints)
    } catch (error) {
      model.notice(messageOf(error))
    }
  }
  useEffect(() => { void load() }, [connection.open])
  const paused = [...rows.values()].filter(({ held }) => held >= 0)
  return (
    <div class="view">
      <Section title="Breakpoints">
        <p class="dim">Who meets one is paused before it hears the event; others run on. They end with this page.</p>
        {hello?.readOnly === true ? null : (
          <form class="row-form" onSubmit={onSend(async () => {
            const request = { on, ...topic === '' ? {} : { topic }, ...path === '' ? {} : { path } }
            if (await ask('break', request) !== undefined) await load()
          })}>
            <Choice name="on" label="Stop at" value={on} onChange={setOn} options={KINDS} />
            <TextField name="topic" label="That meets" value={topic} onInput={setTopic} errors={errors}
              placeholder="any" hint="A topic, such as ['tick', _]" />
            <TextField name="path" label="Heard by" value={path} onInput={setPath} errors={errors} placeholder="any"
              hint="The path of a process, such as 2.0" />
            <button type="submit" class="primary" disabled={!canAct}>Set</button>
          </form>
        )}
        {errors[''] === undefined ? null : <p class="error" role="alert">{errors['']}</p>}
        {list.length === 0 ? <p class="empty">There are none.</p> : null}
        <ul class="list breakpoints">
          {list.map((one) => (
            <li key={one.id}>
              <span class="id">{one.id}</span>
              <span>{KINDS.find(([id]) => id === one.on)?.[1] ?? one.on}</span>
              <code>{one.topic ?? 'any topic'}</code>
              {one.path === undefined ? <span class="dim">any process</span>
                : <a href={processLink(one.path)}>{one.who}</a>}
              {hello?.readOnly === true ? null
                : <button type="button" disabled={!canAct} onClick={() => {
                  void model.act('unbreak', { breakpoint: one.id }).then(load)
                }}>Remove</button>}
            </li>
          ))}
        </ul>
      </Section>
      <Section title={`Paused (${paused.length})`}>
        {groundPaused ? <p>The whole program is paused: each process stops as soon as it would do something.</p> : null}
        {paused.length === 0 ? <p class="empty">No process is paused.</p> : null}
        <ul class="list">
          {paused.slice(0, 200).map((row) => (
            <li key={row.path}>
              <a href={processLink(row.path)}>{titleOf(row)}</a><span class="dim path">{row.path}</span>
              <span>{number(row.held)} events wait</span>
              {hello?.readOnly === true ? null : <>
                <button type="button" disabled={!canAct} onClick={() => void model.act('step', { path: row.path })}>
                  Step</button>
                <button type="button" disabled={!canAct} onClick={() => void model.act('resume', { path: row.path })}>
                  Go on</button>
              </>}
            </li>
          ))}
        </ul>
      </Section>
    </div>
  )
}
