// Package timestamp issues and checks RFC 3161 timestamps.
//
// [Authority] is an authority inside this process. It proves the *format*: a
// client that demands a timestamp gets one it can verify offline, and the time
// it states is as trustworthy as the process that made it, no more. Evidence
// made with it says so ([Self]). An embedder with a real authority implements
// [Stamper] instead; nothing else changes.
//
// Authority builds on digitorus/timestamp alone, because the reference
// authority drags in every cloud's key service. [Verify] is the sigstore
// project's own check, so that this package never judges its own work.
package timestamp
