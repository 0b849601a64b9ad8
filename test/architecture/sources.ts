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

/** The same without what is imported for its types only, which is gone when the program runs. */
export function valuesImportedBy(path: string): string[] {
  const { statements } = ts.createSourceFile(path, textOf(path), ts.ScriptTarget.ES2023)
  return statements.flatMap((statement) => {
    if (!ts.isImportDeclaration(statement) && !ts.isExportDeclaration(statement)) return []
    const { moduleSpecifier } = statement
    if (moduleSpecifier === undefined || !ts.isStringLiteral(moduleSpecifier) || isOfTypes(statement)) return []
    return moduleSpecifier.text.startsWith('.') ? [relative(ROOT, join(ROOT, dirname(path), moduleSpecifier.text))] : []
  })
}

function isOfTypes(statement: ts.ImportDeclaration | ts.ExportDeclaration): boolean {
  if (ts.isExportDeclaration(statement)) return statement.isTypeOnly
  const { importClause } = statement
  if (importClause === undefined) return false
  const { name, namedBindings, phaseModifier } = importClause
  if (phaseModifier === ts.SyntaxKind.TypeKeyword) return true
  if (name !== undefined || namedBindings === undefined || ts.isNamespaceImport(namedBindings)) return false
  return namedBindings.elements.every(({ isTypeOnly }) => isTypeOnly)
}

/**
 * A circle of imports among files, as the paths along it, the first one again at the end; undefined if there is
 * none.
 */
export function circleIn(
  files: readonly string[], imports: (path: string) => readonly string[],
): readonly string[] | undefined {
  const done = new Set<string>()
  const visit = (path: string, way: readonly string[]): readonly string[] | undefined => {
    const known = way.indexOf(path)
    if (known >= 0) return [...way.slice(known), path]
    if (done.has(path)) return undefined
    for (const imported of imports(path)) {
      const target = imported.replace(/\.js$/, '.ts')
      const circle = files.includes(target) ? visit(target, [...way, path]) : undefined
      if (circle !== undefined) return circle
    }
    done.add(path)
    return undefined
  }
  for (const path of files) {
    const circle = visit(path, [])
    if (circle !== undefined) return circle
  }
  return undefined
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
