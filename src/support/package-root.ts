/** Where this package is on disk. Its code is in dist/src, or in the bundles of dist/lib. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

function find(): string | undefined {
  let directory = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(directory, 'native', 'engine'))) {
    if (dirname(directory) === directory) return undefined
    directory = dirname(directory)
  }
  return directory
}

/** The package's directory; undefined if its code has become part of another program's bundle. */
export const PACKAGE_ROOT = find()
