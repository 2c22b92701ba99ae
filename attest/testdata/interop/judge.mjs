// Has foreign libraries judge an output directory, and then the same documents
// with one thing broken in each, which every judge must refuse.
//
//	node judge.mjs OUTPUT INSTALLED
//
// INSTALLED is what install.sh filled. One line a judgement: ok or FAIL.
import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const [out, installed] = process.argv.slice(2)
const here = dirname(fileURLToPath(import.meta.url))
const require = createRequire(join(resolve(installed), 'package.json'))
const text = (...p) => readFileSync(join(...p), 'utf8')
const json = (...p) => JSON.parse(text(...p))
const evidence = (name) => text(out, 'evidence', name)

let failed = 0
async function judge(name, good, bad) {
  let why
  try { why = await good() } catch (e) { why = `${e.code ?? ''} ${e.message}` }
  if (!why && bad) {
    let refused
    try { refused = await bad() } catch (e) { refused = e.message }
    if (!refused) why = 'accepts what is broken'
  }
  failed += why ? 1 : 0
  console.log(why ? `FAIL ${name}: ${typeof why === 'string' ? why : JSON.stringify(why).slice(0, 2000)}` : `ok ${name}`)
}

// CycloneDX: the project's own strict validator.
const CDX = require('@cyclonedx/cyclonedx-library')
const strict = new CDX.Validation.JsonStrictValidator(CDX.Spec.Version.v1dot6)
const bom = json(out, 'evidence', 'sbom-cyclonedx.json')
await judge('cyclonedx', () => strict.validate(JSON.stringify(bom)),
  () => strict.validate(JSON.stringify({ ...bom, surprise: 1 })))

// SPDX, OpenVEX and in-toto statements: JSON Schema.
const formats = require('ajv-formats').default ?? require('ajv-formats')
const schema = (Ajv, s) => {
  const ajv = new (Ajv.default ?? Ajv)({ strict: false, allErrors: true })
  formats(ajv)
  const f = ajv.compile(s)
  return (doc) => f(doc) ? undefined : f.errors
}
const spdx = schema(require('ajv/dist/2019'), json(installed, 'schemas', 'spdx-2.3.json'))
const sdoc = json(out, 'evidence', 'sbom-spdx.json')
await judge('spdx', () => spdx(sdoc), () => spdx({ ...sdoc, dataLicense: undefined, SPDXID: 7 }))

const openvex = schema(require('ajv/dist/2020'), json(here, 'schemas', 'openvex-0.2.0.json'))
const vex = json(out, 'evidence', 'vex.json')
await judge('openvex', () => openvex(vex),
  () => openvex({ ...vex, statements: [{ ...vex.statements[0], status: 'safe' }] }))

const statement = schema(require('ajv/dist/2020'), json(here, 'schemas', 'statement-v1.json'))
const lines = evidence('bundle.jsonl').trimEnd().split('\n').map((l) => JSON.parse(l))
for (const [i, l] of lines.entries()) {
  const s = JSON.parse(Buffer.from(l.dsseEnvelope.payload, 'base64'))
  await judge(`statement ${i} ${s.predicateType}`, () => statement(s), () => statement({ ...s, predicate: undefined, more: 1 }))
  if (s.predicateType === 'https://openvex.dev/ns') await judge(`openvex ${i}`, () => openvex(s.predicate))
}

// Signatures and timestamps: the sigstore project's JavaScript.
const { bundleFromJSON } = require('@sigstore/bundle')
const { TrustedRoot } = require('@sigstore/protobuf-specs')
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify')
const key = createPublicKey(text(out, 'cosign.pub'))
const trust = toTrustMaterial(TrustedRoot.fromJSON(json(out, 'trusted_root.json')), () => ({ publicKey: key, validFor: () => true }))
const verifier = new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 1 })
const verify = (b) => { verifier.verify(toSignedEntity(bundleFromJSON(b))) }
for (const [i, l] of lines.entries()) {
  const flipped = structuredClone(l)
  const payload = Buffer.from(flipped.dsseEnvelope.payload, 'base64')
  payload[payload.length >> 1] ^= 1
  flipped.dsseEnvelope.payload = payload.toString('base64')
  await judge(`signature ${i}`, () => verify(l), () => verify(flipped))
  const unstamped = structuredClone(l)
  unstamped.verificationMaterial.timestampVerificationData.rfc3161Timestamps = []
  await judge(`timestamp ${i}`, () => verify(l), () => verify(unstamped))
}
const sums = json(out, 'evidence', 'SHA256SUMS.sigstore.json')
const blob = readFileSync(join(out, 'evidence', 'SHA256SUMS'))
await judge('signature SHA256SUMS', () => { verifier.verify(toSignedEntity(bundleFromJSON(sums), blob)) },
  () => { verifier.verify(toSignedEntity(bundleFromJSON(sums), Buffer.concat([blob, blob]))) })

// Licence expressions: the parser that npm itself uses.
const parse = require('spdx-expression-parse')
const read = parse.default ?? parse
const expressions = new Set()
for (const p of [...sdoc.packages, ...(sdoc.files ?? [])]) {
  expressions.add(p.licenseConcluded)
  if (p.licenseDeclared) expressions.add(p.licenseDeclared)
}
for (const c of json(out, 'evidence', 'licenses.json').predicate.components) {
  expressions.add(c.declared)
  expressions.add(c.concluded)
}
for (const e of expressions) {
  if (e !== 'NOASSERTION') await judge(`licence ${e}`, () => { read(e) }, () => read(`${e} AND`))
}
process.exit(failed ? 1 : 0)
