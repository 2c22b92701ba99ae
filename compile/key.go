package compile

// Key names the action: "sha256:HEX" of its canonical JSON. Equal keys mean
// equal outputs.
func (a *Action) Key() string { return digestJSON(a) }

// Digest is "sha256:HEX" of the specification's canonical JSON.
func (s *Spec) Digest() string { return digestJSON(s) }
