/**
 * Symbols that are the same in every program, though no registry has them: JavaScript's own, and those of this
 * package that stand in messages. Owns their names, by which messages between nodes refer to them.
 */
const byName = new Map<string, symbol>()
const names = new Map<symbol, string>()

/**
 * Makes a symbol one that can go to other nodes.
 *
 * @param name what it is called there; no other may have it, and it stays
 */
export function shareSymbol(name: string, symbol: symbol): void {
  if (byName.has(name)) throw new Error(`two symbols are called ${name}`)
  byName.set(name, symbol)
  names.set(symbol, name)
}

/** The name that a shared symbol has; undefined for others. */
export function sharedName(symbol: symbol): string | undefined {
  return names.get(symbol)
}

/** The shared symbol of this name, if there is one. */
export function sharedSymbol(name: string): symbol | undefined {
  return byName.get(name)
}

// Listed rather than found: newer versions of JavaScript have more, and then nodes would differ.
for (const symbol of [
  Symbol.asyncIterator, Symbol.hasInstance, Symbol.isConcatSpreadable, Symbol.iterator, Symbol.match, Symbol.matchAll,
  Symbol.replace, Symbol.search, Symbol.species, Symbol.split, Symbol.toPrimitive, Symbol.toStringTag,
  Symbol.unscopables,
]) {
  shareSymbol(symbol.description as string, symbol)
}
