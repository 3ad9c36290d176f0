// Reads an exported actor with the IPLD libraries of others: hashes every block again, walks from
// the root over links (CBOR tag 42) to everything, and prints counts as JSON.
import { createReadStream } from 'node:fs'
import { CarReader } from '@ipld/car'
import * as dagCbor from '@ipld/dag-cbor'
import { blake3 } from '@noble/hashes/blake3.js'
import * as Block from 'multiformats/block'
import { CID } from 'multiformats/cid'
import { from } from 'multiformats/hashes/hasher'

const BLAKE3 = 0x1e
const hasher = from({ name: 'blake3', code: BLAKE3, encode: (bytes) => blake3(bytes) })

const fail = (text) => {
  console.error(text)
  process.exit(1)
}

const reader = await CarReader.fromIterable(createReadStream(process.argv[2]))
if (reader.version !== 1) fail(`version ${reader.version}`)
const roots = await reader.getRoots()
if (roots.length !== 1) fail(`${roots.length} roots`)
const [root] = roots

// Block.create refuses bytes that are not what the CID says.
const block = async (cid) => {
  if (cid.version !== 1 || cid.code !== dagCbor.code || cid.multihash.code !== BLAKE3) {
    fail(`${cid} is not a CIDv1 of dag-cbor and blake3`)
  }
  const found = await reader.get(cid)
  if (found === undefined) fail(`${cid} is missing`)
  const read = await Block.create({ bytes: found.bytes, cid, codec: dagCbor, hasher })
  // What is canonical encodes to the same bytes again.
  const again = dagCbor.encode(read.value)
  if (Buffer.compare(Buffer.from(again), Buffer.from(found.bytes)) !== 0) {
    fail(`${cid} is not canonical`)
  }
  return read
}

let blocks = 0
for await (const { cid } of reader.blocks()) {
  await block(cid)
  blocks += 1
}

// Every link of every block, whatever it means.
const reached = new Set()
const waiting = [root]
while (waiting.length > 0) {
  const cid = waiting.pop()
  if (reached.has(cid.toString())) continue
  reached.add(cid.toString())
  for (const [, link] of (await block(cid)).links()) waiting.push(link)
}

// What the format says: root, chunks, activities.
const { value } = await block(root)
const counts = { chunks: 0, outbox: 0, inbox: 0, proofs: 0 }
const kinds = {}
for (const [stream, list] of Object.entries(value.streams)) {
  for (const link of list.chunks) {
    const chunk = (await block(CID.asCID(link))).value
    if (chunk.from !== counts[stream]) fail(`a chunk of the ${stream} begins at ${chunk.from}`)
    counts.chunks += 1
    counts.proofs += Object.keys(chunk.proofs).length
    for (const link of chunk.links) {
      const activity = (await block(CID.asCID(link))).value
      if (stream === 'outbox' && activity.seq !== counts.outbox) fail(`seq ${activity.seq}`)
      counts[stream] += 1
      kinds[activity.type] = (kinds[activity.type] ?? 0) + 1
    }
  }
}

console.log(
  JSON.stringify({
    root: root.toString(),
    format: value.format,
    actor: value.actor,
    blocks,
    reached: reached.size,
    ...counts,
    keys: value.keys.length,
    checkpoint_size: value.checkpoint.size,
    kinds,
  })
)
