/** What connections and handlers of requests say to each other: the package's records, as this example calls them. */
import { _, httpAnswer, type HttpRequestData, type HttpRequestId } from 'marketplace-native'

export {
  httpAnswer, httpPart, httpReply as answer, httpRequest, httpStreamed as streamed, httpWanted as wanted,
} from 'marketplace-native'

/** Which request an answer is for: the connection's number, and the request's in it. */
export type RequestId = HttpRequestId
export type Request = HttpRequestData

/** The topic of all answers to a connection's requests. */
export const answersTo = (connection: number) =>
  httpAnswer([connection, _] as unknown as RequestId, _, _, _)
