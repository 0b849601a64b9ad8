/**
 * Fields of forms, with what is wrong about their text beside them.
 *
 * Owns which field an error belongs to: the program's errors begin with the name of the parameter.
 */
import type { VNode } from 'preact'
import { useId, useMemo, useState } from 'preact/hooks'
import { messageOf, model, titleOf, useModel } from './model.js'

/** What is wrong, by field; under '' what is no field's. */
export type Errors = Readonly<Record<string, string>>

export function errorsOf(error: unknown, fields: readonly string[]): Errors {
  const message = messageOf(error)
  const field = fields.find((name) => message.startsWith(`${name}: `))
  return field === undefined ? { '': message } : { [field]: message.slice(field.length + 2) }
}

export function TextField({ name, label, value, onInput, errors, hint, placeholder }: {
  readonly name: string, readonly label: string, readonly value: string
  readonly onInput: (text: string) => void, readonly errors: Errors
  readonly hint?: string, readonly placeholder?: string
}): VNode {
  const error = errors[name] as string | undefined
  const id = useId()
  return (
    <div class={`field text ${error === undefined ? '' : 'invalid'}`}>
      <label class="label" for={id}>{label}</label>
      <input
        type="text" id={id} name={name} value={value} placeholder={placeholder} spellcheck={false} autocomplete="off"
        autocapitalize="off" aria-invalid={error !== undefined} aria-describedby={`${id}-note`}
        onInput={({ currentTarget }) => { onInput(currentTarget.value) }}
      />
      <span
        id={`${id}-note`} class={error === undefined ? 'note' : 'note error'}
        role={error === undefined ? undefined : 'alert'}
      >{error ?? hint ?? ''}</span>
    </div>
  )
}

export function Choice({ name, label, value, onChange, options }: {
  readonly name: string, readonly label: string, readonly value: string, readonly onChange: (value: string) => void
  readonly options: readonly (readonly [value: string, text: string])[]
}): VNode {
  return (
    <label class="field choice">
      <span class="label">{label}</span>
      <select name={name} value={value} onChange={({ currentTarget }) => { onChange(currentTarget.value) }}>
        {options.map(([option, text]) => <option key={option} value={option}>{text}</option>)}
      </select>
    </label>
  )
}

/** Which VM is meant. */
export function VmChoice({ value, onChange }: {
  readonly value: string, readonly onChange: (path: string) => void
}): VNode {
  const { rows, version } = useModel()
  const vms = useMemo(() => [...rows.values()].filter(({ kind }) => kind === 'vm').slice(0, 500), [version])
  const options = vms.map((row) => [row.path, `${titleOf(row)} (${row.path})`] as const)
  return <Choice name="vm" label="In" value={value} onChange={onChange} options={[['', 'the ground VM'], ...options]} />
}

/** Something that is asked of the program when the form is sent. */
export function useAsked<Ok>(fields: readonly string[]): {
  readonly answer: Ok | undefined, readonly errors: Errors
  readonly ask: (what: string, request: object) => Promise<Ok | undefined>
} {
  const [answer, setAnswer] = useState<Ok>()
  const [errors, setErrors] = useState<Errors>({})
  const ask = async (what: string, request: object): Promise<Ok | undefined> => {
    try {
      const found = await model.connection.ask<Ok>(what, request)
      setErrors({})
      setAnswer(() => found)
      return found
    } catch (error) {
      setErrors(errorsOf(error, fields))
      setAnswer(undefined)
      return undefined
    }
  }
  return { answer, errors, ask }
}

/** Runs something when a form is sent, in place of what browsers do. */
export const onSend = (send: () => Promise<unknown>) => (event: Event): void => {
  event.preventDefault()
  void send()
}
