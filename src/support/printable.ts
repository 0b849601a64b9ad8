/**
 * Text that strangers may have had a hand in, as it can be printed: what a terminal would act on, and what
 * would look like a line of somebody else's, is shown as an escape sequence. Owns nothing.
 */

/** Control characters but for the line feed, line separators, and what turns the direction of writing. */
// eslint-disable-next-line no-control-regex -- that is what is looked for
const CONTROL = /[\0-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

function escaped(character: string): string {
  const code = character.charCodeAt(0)
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`
}

/** On one line. */
export function onOneLine(text: string): string {
  return text.replace(CONTROL, escaped).replaceAll('\n', '\\n')
}

/** Of several lines, such as a stack: none but the first begins where a record begins. */
export function indented(text: string): string {
  return text.replace(CONTROL, escaped).replace(/\n(?! )/g, '\n    ')
}
