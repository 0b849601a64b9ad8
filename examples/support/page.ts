/** One page on the port of a WebSocket: how it is served, and that only it may connect. */
import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { _, endpoint, httpReply, httpRequest, type WsRequest } from 'marketplace-native'

/** The page is all that there is on the web: it may run its own script, and speak to this server. */
const pageHeaders = (page: string) => {
  const script = /<script>([^]*?)<\/script>/.exec(page)?.[1] ?? ''
  const hash = createHash('sha256').update(script).digest('base64')
  return {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'; `
      + "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'x-content-type-options': 'nosniff',
    'cache-control': 'no-cache',
  }
}

/** Answers `GET /` with the page. */
export const webPage = (page: string) => {
  const headers = pageHeaders(page)
  return endpoint.subscriber(httpRequest(_, 'GET', [''], _), {
    onMessage: ({ id }) => httpReply(id, 200, page, headers),
  })
}

/**
 * Only this server's own page may connect. It is known by an address or as localhost, not by a name: a stranger's page
 * could have its own name lead here.
 */
export const ownPageOnly = (origin: string, { host, secure }: WsRequest): boolean => {
  const { origin: own, hostname } = new URL(`${secure ? 'https' : 'http'}://${host}`)
  const isAddress = isIP(hostname.replace(/^\[|\]$/g, '')) > 0
  return origin === own && (isAddress || hostname === 'localhost')
}
