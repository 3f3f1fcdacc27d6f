/**
 * How processes that know nothing but an address find each other: rank 0 listens there until all have come, and hands to each
 * what the others brought for it. Both ends prove that they know the secret of the job before anything else is said.
 */
import type { LaunchedWithAddress } from './launcher.js'
import type { Secret } from './secret.js'

export interface Meeting extends Pick<LaunchedWithAddress, 'rank' | 'size' | 'address' | 'port'> {
  secret: Secret
  /** Milliseconds within which all have to come. */
  patience: number
  /** Milliseconds within which they have to come that are to learn that the job cannot start. */
  limit: number
  /**
   * What this rank brings: for each rank as many bytes, [size, n]. `address` is of this machine, and one that rank 0 can be
   * reached from. Where it throws, the job cannot start.
   */
  bring(address: string): Uint8Array
}

export const GREETING = Buffer.from('node-mora ranks2')
/** Rank, size, a challenge and a proof. */
export const HELLO_NUMBERS = 8
/** The longest message, in bytes for each rank of the job. */
export const MOST_BYTES_OF_A_RANK = 4096

/** The first byte of what a rank brings, and of an answer of rank 0; after `no` comes the reason. */
export const Answer = { no: 0, yes: 1 } as const

export const placeText = ({ address, port }: Pick<Meeting, 'address' | 'port'>): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`

export const seconds = (milliseconds: number): string => `${Math.round(milliseconds / 1000)} s`
