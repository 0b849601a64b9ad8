/** The checksum CRC-32C (Castagnoli), as RFC 3720, appendix B.4, has it; by a table (Sarwate, 1988). Owns nothing. */

/** The polynomial, reflected. */
const POLYNOMIAL = 0x82f63b78

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let c = byte
  for (let i = 0; i < 8; i++) c = (c & 1) === 0 ? c >>> 1 : (c >>> 1) ^ POLYNOMIAL
  return c
})

/** @returns a number of 32 bits */
export function crc32c(bytes: Uint8Array): number {
  let c = 0xffffffff
  for (let i = 0; i < bytes.length; i++) c = table[(c ^ bytes[i]) & 0xff] ^ (c >>> 8)
  return (c ^ 0xffffffff) >>> 0
}
