/** The source files by folder, and what they import. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** The files below a folder of the repository whose names end so, as paths from its root. */
export function filesBelow(folder: string, ...endings: readonly string[]): string[] {
  const paths = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
  return paths.filter((path) => endings.some((ending) => path.endsWith(ending)))
    .map((path) => join(folder, path)).sort()
}

export const textOf = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

/** What a file of ours imports: paths from the root for relative imports, otherwise as it is written. */
export function importsOf(path: string): string[] {
  const { importedFiles } = ts.preProcessFile(textOf(path))
  return importedFiles.map(({ fileName }) =>
    fileName.startsWith('.') ? relative(ROOT, join(ROOT, dirname(path), fileName)) : fileName)
}

/** `src/vm/role.ts` is in `vm`; `src/index.ts` and what is not below src have no folder. */
export function folderOf(path: string): string | undefined {
  return /^src\/([^/]+)\//.exec(path)?.[1]
}

/** Which folders of src import from which others: the real ones. */
export function folderImports(): Map<string, Set<string>> {
  const edges = new Map<string, Set<string>>()
  for (const path of filesBelow('src', '.ts')) {
    const from = folderOf(path)
    if (from === undefined) continue
    const targets = edges.get(from) ?? new Set()
    edges.set(from, targets)
    for (const imported of importsOf(path)) {
      const to = folderOf(imported)
      if (to !== undefined && to !== from) targets.add(to)
    }
  }
  return edges
}
