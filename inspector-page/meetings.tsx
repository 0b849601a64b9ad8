/** Who meets whom, and who would get a message, and why others would not. */
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import type { EndpointOf } from '../src/inspector/shown.js'
import { Choice, onSend, TextField, useAsked, VmChoice } from './form.js'
import { processLink } from './route.js'
import { number } from './text.js'
import { Section } from './value.js'

interface Meets {
  readonly peers: readonly EndpointOf[]
  readonly left: number
}

interface Who {
  readonly gets: readonly EndpointOf[]
  readonly getsLeft: number
  readonly misses: readonly (EndpointOf & { readonly why: string })[]
  readonly missesLeft: number
  readonly elsewhere: readonly (EndpointOf & { readonly vm: string })[]
}

const HINT = 'As in a program: [\'tick\', _], chat-message(?who, _), 12, true'

/** As they were when the reader left. */
const kept = { message: '', topic: '', vm: '', orientation: 'publisher' }

export function Meetings(): VNode {
  return <div class="view"><WhoGets /><WhoMeets /></div>
}

function WhoGets(): VNode {
  const [message, setMessage] = useState(kept.message)
  const [vm, setVm] = useState(kept.vm)
  const [orientation, setOrientation] = useState(kept.orientation)
  const { answer, errors, ask } = useAsked<Who>(['message'])
  return (
    <Section title="Who would get this message, and why not?">
      <form class="row-form" onSubmit={onSend(() => {
        Object.assign(kept, { message, vm, orientation })
        return ask('who', { message, orientation, ...vm === '' ? {} : { vm } })
      })}>
        <TextField name="message" label="Message" value={message} onInput={setMessage} errors={errors} hint={HINT} />
        <VmChoice value={vm} onChange={setVm} />
        <Choice name="orientation" label="Sent by a" value={orientation} onChange={setOrientation}
          options={[['publisher', 'publisher'], ['subscriber', 'subscriber (feedback)']]} />
        <button type="submit" class="primary">Who?</button>
      </form>
      {errors[''] === undefined ? null : <p class="error" role="alert">{errors['']}</p>}
      {answer === undefined ? null : <WhoAnswer answer={answer} />}
    </Section>
  )
}

function WhoAnswer({ answer }: { readonly answer: Who }): VNode {
  const { gets, getsLeft, misses, missesLeft, elsewhere } = answer
  return (
    <div class="answer" role="status">
      <h3 class="good">{number(gets.length + getsLeft)} would get it</h3>
      <EndpointTable list={gets} />
      <h3>{number(misses.length + missesLeft)} would not: the nearest first</h3>
      <EndpointTable list={misses} why={(_, at) => misses[at].why} />
      {elsewhere.length === 0 ? null : <>
        <h3>{number(elsewhere.length)} would in another VM, which it doesn't reach by itself</h3>
        <EndpointTable list={elsewhere} />
      </>}
    </div>
  )
}

function WhoMeets(): VNode {
  const [topic, setTopic] = useState(kept.topic)
  const [vm, setVm] = useState(kept.vm)
  const [orientation, setOrientation] = useState(kept.orientation)
  const { answer, errors, ask } = useAsked<Meets>(['topic'])
  return (
    <Section title="Who meets whom?">
      <form class="row-form" onSubmit={onSend(() => {
        Object.assign(kept, { topic, vm, orientation })
        return ask('meets', { topic, orientation, ...vm === '' ? {} : { vm } })
      })}>
        <TextField name="topic" label="Topic" value={topic} onInput={setTopic} errors={errors} hint={HINT} />
        <VmChoice value={vm} onChange={setVm} />
        <Choice name="orientation" label="Of a" value={orientation} onChange={setOrientation}
          options={[['publisher', 'publisher'], ['subscriber', 'subscriber']]} />
        <button type="submit" class="primary">Find</button>
      </form>
      {errors[''] === undefined ? null : <p class="error" role="alert">{errors['']}</p>}
      {answer === undefined ? null : (
        <div class="answer" role="status">
          <h3>{number(answer.peers.length + answer.left)} {answer.peers.length === 1 ? 'peer' : 'peers'} now</h3>
          <EndpointTable list={answer.peers} />
        </div>
      )}
    </Section>
  )
}

function EndpointTable({ list, why }: {
  readonly list: readonly EndpointOf[], readonly why?: (endpoint: EndpointOf, at: number) => string
}): VNode | null {
  if (list.length === 0) return null
  return (
    <ul class="endpoint-table">
      {list.map((endpoint, at) => (
        <li key={at}>
          <a href={processLink(endpoint.path)}>{endpoint.who}</a>
          <span class={`role ${endpoint.orientation}`}>{endpoint.orientation}</span>
          <code>{endpoint.text}</code>
          {why === undefined ? null : <span class="why">{why(endpoint, at)}</span>}
        </li>
      ))}
    </ul>
  )
}
