/** Compiles all blocks in one run of tsc, with this project's settings. */
import { spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT, type Block } from './blocks.js'

const FOLDER = join(ROOT, 'build/doc-blocks')

/** By file name without extension: what the compiler has to say, with lines of the page. */
export type Diagnostics = ReadonlyMap<string, readonly string[]>

const config = {
  extends: '../../tsconfig.json',
  compilerOptions: {
    rootDir: '.', outDir: 'out', declaration: false, sourceMap: false, incremental: false,
    // As a user's program finds them: by the exports of the package.
    paths: {},
  },
  include: ['*.ts'],
}

/** The file that a block runs as. */
export function programOf({ id, language }: Block): string {
  return join(FOLDER, 'out', `${id}.${language === 'js' ? 'mjs' : 'js'}`)
}

export async function compile(blocks: readonly Block[]): Promise<Diagnostics> {
  rmSync(FOLDER, { recursive: true, force: true })
  mkdirSync(join(FOLDER, 'out'), { recursive: true })
  writeFileSync(join(FOLDER, 'tsconfig.json'), JSON.stringify(config))
  for (const block of blocks) {
    const file = block.language === 'js' ? programOf(block) : join(FOLDER, `${block.id}.ts`)
    writeFileSync(file, block.code)
  }
  return diagnostics(await tsc(), blocks)
}

function tsc(): Promise<string> {
  const args = [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', FOLDER, '--pretty', 'false']
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.on('error', reject).on('close', () => { resolve(output) })
  })
}

function diagnostics(output: string, blocks: readonly Block[]): Diagnostics {
  const found = new Map<string, string[]>()
  for (const line of output.split('\n')) {
    if (line === '' || line.startsWith(' ')) continue
    const parts = /^.*?([^/\\]+)\.ts\((\d+),(\d+)\): (.*)$/.exec(line)
    const block = blocks.find(({ id }) => id === parts?.[1])
    if (parts === null || block === undefined) throw new Error(`tsc: ${line}`)
    const message = `${block.page}:${block.line + Number(parts[2])}:${parts[3]}: ${parts[4]}`
    found.set(block.id, [...(found.get(block.id) ?? []), message])
  }
  return found
}
