package openpgp

import (
	"crypto"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/cleanstart/cleanstart/source"
)

// minRSA is the least size of an RSA key, in bits.
const minRSA = 2048

// floor refuses weak algorithms. It gives the policy's exception where the
// signature needs one.
func floor(s source.Subject, sig *packet.Signature, key *packet.PublicKey) (*source.Exception, error) {
	if sig.SigType != packet.SigTypeBinary {
		return nil, fmt.Errorf("%w: signature of type %d, want one over a binary document", ErrBad, sig.SigType)
	}
	switch key.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		bits, err := key.BitLength()
		if err != nil {
			return nil, err
		}
		if bits < minRSA {
			return nil, fmt.Errorf("%w: RSA of %d bits, want %d", ErrWeak, bits, minRSA)
		}
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
	default:
		return nil, fmt.Errorf("%w: %s", ErrWeak, algorithm(key))
	}
	switch sig.Hash {
	case crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
		return nil, nil
	case crypto.SHA1:
		if x := s.Policy.Exception(source.AllowSHA1, s.Now); x != nil {
			return x, nil
		}
		return nil, fmt.Errorf("%w: SHA-1; a policy may allow it by an exception named %s, with a reason and a date", ErrWeak, source.AllowSHA1)
	}
	return nil, fmt.Errorf("%w: %s", ErrWeak, hashName(sig.Hash))
}

func hashName(h crypto.Hash) string {
	if h == 0 {
		return "unknown digest"
	}
	return h.String()
}

// algorithm names a key's algorithm, with its size where that varies.
func algorithm(key *packet.PublicKey) string {
	name := map[packet.PublicKeyAlgorithm]string{
		packet.PubKeyAlgoRSA: "RSA", packet.PubKeyAlgoRSASignOnly: "RSA", packet.PubKeyAlgoDSA: "DSA",
		packet.PubKeyAlgoECDSA: "ECDSA", packet.PubKeyAlgoEdDSA: "EdDSA",
		packet.PubKeyAlgoEd25519: "Ed25519", packet.PubKeyAlgoEd448: "Ed448",
	}[key.PubKeyAlgo]
	if name == "" {
		return fmt.Sprintf("algorithm %d", key.PubKeyAlgo)
	}
	if bits, err := key.BitLength(); err == nil && (name == "RSA" || name == "DSA" || name == "ECDSA") {
		return fmt.Sprintf("%s-%d", name, bits)
	}
	return name
}
