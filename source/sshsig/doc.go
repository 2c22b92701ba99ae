// Package sshsig proves an archive, a checksum list, a git tag or a git commit
// by an SSH signature (OpenSSH PROTOCOL.sshsig, version 1) made by a key that
// the policy pins.
//
// What is pinned is the SHA-256 fingerprint of a public key, as ssh-keygen -l
// prints it; the key itself is in the signature. Where the policy names a file
// too, it is an allowed_signers file (ssh-keygen(1), ALLOWED SIGNERS), and must
// allow that very key for the namespace. Its principals are not looked at: the
// policy has already said which key it means. An option that is not known
// here, and cert-authority, disallow the line; valid-after and valid-before
// are judged at the time of verification, since an SSH signature states none
// of its own, and must be in UTC. So a policy that bounds the time of a key's
// signatures accepts none of this kind.
//
// The namespace is git for tags and commits and file for all else. It is
// signed, so a signature made for one use is refused for another.
//
// The floor: Ed25519, ECDSA on the NIST curves, their forms on security keys
// (sk-…), or RSA of at least 2048 bits with SHA-2, over SHA-256 or SHA-512. An
// RSA key of 1024 bits or more passes only by the policy's exception of that
// name, which the proof then carries. A signature by a security key counts
// only when somebody touched the key. Certificates as signing keys are
// refused: what they vouch for is an authority's word about a key, and the
// policy pins keys.
//
// Blind spots: nothing tells when a signature was made, so a key that was
// stolen is dealt with by removing it; a touch is what the security key says
// of itself, and whether it is hardware at all is not attested.
package sshsig
