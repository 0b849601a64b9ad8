/** What can be done with the program as a whole: send a message, change the log level. */
import type { VNode } from 'preact'
import { useState } from 'preact/hooks'
import { Choice, onSend, TextField, useAsked, VmChoice } from './form.js'
import { model, useModel } from './model.js'
import { Section } from './value.js'

const LEVELS = ['debug', 'info', 'warning', 'error', 'fatal', 'off']

export function Act(): VNode {
  const { canAct } = useModel()
  return (
    <div class="view">
      {canAct ? null : <p class="empty">This page only looks, or has no connection.</p>}
      <Send />
      <LogLevel />
    </div>
  )
}

function Send(): VNode {
  const { canAct } = useModel()
  const [message, setMessage] = useState('')
  const [vm, setVm] = useState('')
  const [orientation, setOrientation] = useState('publisher')
  const { errors, ask } = useAsked<object>(['message'])
  return (
    <Section title="Send a message">
      <form class="row-form" onSubmit={onSend(async () => {
        const request = { message, orientation, ...vm === '' ? {} : { vm } }
        if (await ask('send', request) !== undefined) model.notice(`Sent: ${message}`)
      })}>
        <TextField name="message" label="Message" value={message} onInput={setMessage} errors={errors}
          hint="As in a program: ['tick', 1], chat-message('me', 'hello')" />
        <VmChoice value={vm} onChange={setVm} />
        <Choice name="orientation" label="As a" value={orientation} onChange={setOrientation}
          options={[['publisher', 'publisher'], ['subscriber', 'subscriber (feedback)']]} />
        <button type="submit" class="primary" disabled={!canAct}>Send</button>
      </form>
      {errors[''] === undefined ? null : <p class="error" role="alert">{errors['']}</p>}
    </Section>
  )
}

function LogLevel(): VNode {
  const { canAct } = useModel()
  const [level, setLevel] = useState('warning')
  return (
    <Section title="What the program logs">
      <form class="row-form" onSubmit={onSend(async () => {
        if (await model.act('log', { level })) model.notice(`Logged from now on: ${level} and what is graver`)
      })}>
        <Choice name="level" label="From" value={level} onChange={setLevel} options={LEVELS.map((one) => [one, one])} />
        <button type="submit" disabled={!canAct}>Set</button>
      </form>
    </Section>
  )
}
