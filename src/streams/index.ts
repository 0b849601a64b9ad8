/** Conversations as streams, and streams as conversations: what is public of this folder. */
export { channelFor, type ChannelForOptions } from './channel-for.js'
export {
  fromChannel, type ChannelStream, type ChannelStreamOptions, type ChannelStreamParts,
} from './channel-stream.js'
