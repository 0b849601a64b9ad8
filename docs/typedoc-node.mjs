/** For TypeDoc: comments of Node's types link to events, which have no place here; they become code. */
import { Converter } from 'typedoc'

const EVENT = /^'\w+'$/

function plain(parts = []) {
  return parts.map((part) => part.kind === 'inline-tag' && EVENT.test(part.text)
    ? { kind: 'code', text: `\`${part.text}\`` }
    : part)
}

export function load({ converter }) {
  converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const { comment } of Object.values(project.reflections)) {
      if (comment === undefined) continue
      comment.summary = plain(comment.summary)
      for (const tag of comment.blockTags) tag.content = plain(tag.content)
    }
  })
}
