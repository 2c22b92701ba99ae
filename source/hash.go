package source

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"
)

// background is a SHA-256 that is computed beside what its caller does: what
// is written is copied, and hashed while the next bytes are on their way.
type background struct {
	h    hash.Hash
	buf  []byte
	busy sync.WaitGroup
}

func newBackground() *background { return &background{h: sha256.New()} }

// Write never fails.
func (b *background) Write(p []byte) (int, error) {
	b.busy.Wait()
	b.buf = append(b.buf[:0], p...)
	b.busy.Go(func() { b.h.Write(b.buf) })
	return len(p), nil
}

// hex waits and gives the hexadecimal digest of all that was written.
func (b *background) hex() string {
	b.busy.Wait()
	return hex.EncodeToString(b.h.Sum(nil))
}
