/**
 * Our chat server as the benchmarks run it: examples/chat.ts, unchanged.
 *
 * usage: node dist/bench/servers/chat.js [--port PORT] [--transport native|node]
 *   [--backend epoll|io_uring]
 */
import { chatServer } from '../../examples/chat.js'
import { serve } from './serve.js'

await serve(({ port }) => chatServer(port))
