// Package attest turns an image, its record, its analysis and its VEX into
// eleven signed artifacts bound to the image's digest, and verifies them
// offline.
//
// # Words
//
// A kind is one row of the closed table [Kinds]. Its document is what people
// and tools read (a CycloneDX BOM, an OpenVEX document, a log); its statement
// is an in-toto Statement v1 whose subject is the image manifest; its bundle
// is the statement signed (DSSE, application/vnd.in-toto+json) in a sigstore
// bundle v0.3 with an RFC 3161 timestamp over the signature. A referrer is the
// OCI 1.1 manifest that attaches one bundle, or one document as it is, to the
// image.
//
// # Promise
//
// No client notices an attestation that is missing, and the common one skips
// a forged one when another verifies. So the set is closed twice: the evidence
// [Manifest], signed last, lists every artifact and every byte of the
// directory by digest and count, and a label in the image's configuration
// names the policy, so that an image without any evidence is seen too.
// [Verify] needs no network, fails closed, and answers by artifact: present,
// missing, forged, stale or foreign.
//
// Statements are deterministic: the same [Input] gives the same payloads.
// Bundles are not, because ECDSA signatures are not; nothing that is shipped
// in the image depends on them.
//
// # Whose word counts
//
// [Options] name the keys that are trusted, each with the time in which its
// signatures count; how many of them must have signed the evidence manifest
// ([CoSign] adds one); the time-stamping authorities and how many must agree;
// and the last set that was accepted, so that nobody is led back to an older
// one ([Options.Last]).
//
// # What is not promised
//
// A key that lies beside what it signed shows integrity, not origin: give
// [Options.Key]. A timestamp of an authority in the signer's own process shows
// order, not independent time; the manifest says which it is. A complete older
// set is only told from the newest by [Options.Last] or [Options.NotBefore].
//
// # Whose code judges
//
// Signing is written here on sigstore's interfaces and messages. Verification
// takes the timestamp check of the sigstore project and the standard library's
// signatures; it does not import sigstore-go's verifier, because that brings
// three hundred packages (OpenAPI, gRPC, TUF clients) to everyone who imports
// this one and doubles their build. The tests do import it: everything that
// [Verify] accepts, sigstore-go and cosign accept as well.
package attest
