/** The globals that the plain JavaScript files may use, for eslint. */
const NAMES = [
  'process', 'performance', 'Buffer', 'URL', 'setTimeout', 'setImmediate', 'setInterval', 'clearTimeout',
  'clearInterval', 'console',
]

export default Object.fromEntries(NAMES.map((name) => [name, 'readonly']))
