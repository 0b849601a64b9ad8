/** Answers that are asked for again every second while they are on the screen. Owns no answer. */
import { useEffect, useState } from 'preact/hooks'
import { messageOf, useModel } from './model.js'

const EVERY_MS = 1000

/**
 * @param what the request
 * @param take called with each answer, before it is shown
 */
export function usePolled<Answer>(
  what: string, take: (answer: Answer) => void,
): { readonly answer: Answer | undefined, readonly error: string } {
  const { connection } = useModel()
  const [answer, setAnswer] = useState<Answer>()
  const [error, setError] = useState('')
  useEffect(() => {
    let isOver = false
    const ask = async (): Promise<void> => {
      if (document.visibilityState !== 'visible' || !connection.open) return
      try {
        const found = await connection.ask<Answer>(what)
        if (isOver) return
        take(found)
        setAnswer(() => found)
        setError('')
      } catch (failure) {
        if (!isOver) setError(messageOf(failure))
      }
    }
    void ask()
    const timer = setInterval(() => void ask(), EVERY_MS)
    return () => {
      isOver = true
      clearInterval(timer)
    }
  }, [connection.open])
  return { answer, error }
}
