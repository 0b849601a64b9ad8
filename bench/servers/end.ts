/**
 * The end of a server of the benchmarks that can't start: one line that says why, and exit code 1. It begins with
 * `skip: ` where the machine lacks something, which is no failure of the server.
 */

export function end(error: unknown): never {
  const { message, code } = error as NodeJS.ErrnoException
  const lacking = ['ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EPERM'].includes(code ?? '')
  console.log(lacking ? `skip: ${message}` : message)
  process.exit(1)
}
