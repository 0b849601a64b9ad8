/**
 * Puts `marketplace-native/net` in the place of `net` and `node:net` for whatever program is run with
 * `--require` of this file; child processes and workers inherit it by NODE_OPTIONS. Owns nothing.
 *
 * Only what programs load themselves is replaced: Node's own modules (`http`, `tls`, ...) keep their sockets.
 * With MARKETPLACE_HOOK=node nothing is: such a run differs from the others by the module alone.
 */
'use strict'
const Module = require('node:module')
const { dirname, join, sep } = require('node:path')
const { pathToFileURL } = require('node:url')

const DIST = join(dirname(dirname(__dirname)), 'dist')
/** Where the package's own code is, which goes on to get node:net. */
const OWN = ['lib', 'src'].map((folder) => join(DIST, folder) + sep)
const OWN_URLS = OWN.map((folder) => pathToFileURL(folder).href)
const NAMES = new Set(['net', 'node:net'])

/** One copy of the package: the ESM build where `require` can load it, so that `import` gives the same. */
const build = process.features.require_module === true ? 'net.js' : 'net.cjs'
let replacement

/** Loaded by the first who asks: a program without sockets is as without this file. */
function ours() {
  // The default export, as an object whose members programs can exchange, as they do with those of node:net.
  replacement ??= require(join(DIST, 'lib', build)).default
  return replacement
}

function replace() {
  const load = Module._load
  Module._load = function (request, parent, ...rest) {
    const isOwn = OWN.some((folder) => parent?.filename?.startsWith(folder))
    if (NAMES.has(request) && !isOwn) return ours()
    return load.call(this, request, parent, ...rest)
  }
  if (Module.registerHooks === undefined) return
  Module.registerHooks({
    resolve(specifier, context, next) {
      const isImport = context.conditions?.includes('import') === true
      const isOwn = OWN_URLS.some((folder) => context.parentURL?.startsWith(folder))
      if (!isImport || !NAMES.has(specifier) || isOwn) return next(specifier, context)
      return { url: pathToFileURL(join(DIST, 'lib', build)).href, format: 'module', shortCircuit: true }
    },
  })
}

if (process.env.MARKETPLACE_HOOK !== 'node') {
  // Where Node loads no addons the module is node:net by itself, and must be: the runner's demand is void there.
  if (process.permission?.has('addon') === false) delete process.env.MARKETPLACE_NATIVE
  replace()
}
