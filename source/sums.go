package source

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// ErrNotListed says that a checksum list does not hold the archive, or not by
// a digest that is strong enough.
var ErrNotListed = errors.New("checksum list does not vouch for the archive")

// sum is one digest that a list gives for a file.
type sum struct {
	algorithm string
	hex       string
	new       func() hash.Hash
}

// digests that lists may use, by the names of BSD lists.
var digests = []sum{
	{algorithm: "sha256", new: sha256.New},
	{algorithm: "sha384", new: sha512.New384},
	{algorithm: "sha512", new: sha512.New},
	{algorithm: "sha3-256", new: func() hash.Hash { return sha3.New256() }},
	{algorithm: "sha3-512", new: func() hash.Hash { return sha3.New512() }},
}

// findSum gives the strongest digest of the file that the list holds. Lists
// are as GNU coreutils writes them ("HEX  NAME", "HEX *NAME") or as BSD does
// ("SHA256 (NAME) = HEX"), with SHA-2 or SHA-3; other lines are skipped. A
// file with two digests of one kind is refused, and so is one whose digests
// are all weak.
func findSum(list []byte, file string) (sum, error) {
	if file == "" {
		return sum{}, fmt.Errorf("%w: the archive has no name", ErrNotListed)
	}
	found := map[string]sum{}
	weak := false
	lines := bufio.NewScanner(bytes.NewReader(list))
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		name, label, hexa, ok := parseSum(strings.TrimSuffix(lines.Text(), "\r"))
		if !ok || name != file {
			continue
		}
		d, ok := digestOf(label, hexa)
		if !ok {
			weak = true
			continue
		}
		if old, twice := found[d.algorithm]; twice && old.hex != d.hex {
			return sum{}, fmt.Errorf("%w: two %s digests for %s", ErrNotListed, d.algorithm, file)
		}
		found[d.algorithm] = d
	}
	if err := lines.Err(); err != nil {
		return sum{}, fmt.Errorf("%w: %w", ErrNotListed, err)
	}
	for i := len(digests) - 1; i >= 0; i-- {
		if d, ok := found[digests[i].algorithm]; ok {
			return d, nil
		}
	}
	if weak {
		return sum{}, fmt.Errorf("%w: it holds only weak digests for %s; accepted are SHA-2 from 256 bits and SHA-3", ErrNotListed, file)
	}
	return sum{}, fmt.Errorf("%w: it does not name %s", ErrNotListed, file)
}

// parseSum reads one line of a list.
func parseSum(line string) (name, label, hexa string, ok bool) {
	if open := strings.Index(line, " ("); open > 0 && isLetter(line[0]) {
		end := strings.LastIndex(line, ") = ")
		if end < open {
			return "", "", "", false
		}
		return line[open+2 : end], line[:open], line[end+4:], true
	}
	hexa, name, ok = strings.Cut(line, " ")
	if !ok || len(hexa) < 32 || strings.Trim(hexa, "0123456789abcdefABCDEF") != "" || len(name) < 2 {
		return "", "", "", false
	}
	if name[0] != ' ' && name[0] != '*' {
		return "", "", "", false
	}
	return strings.TrimPrefix(name[1:], "./"), "", hexa, true
}

// digestOf gives the algorithm that a label or, without one, a length means.
func digestOf(label, hexa string) (sum, bool) {
	hexa = strings.ToLower(hexa)
	if strings.Trim(hexa, "0123456789abcdef") != "" {
		return sum{}, false
	}
	label = strings.ToLower(label)
	for _, d := range digests {
		if len(hexa) != 2*d.new().Size() {
			continue
		}
		if label == d.algorithm || label == "" && !strings.HasPrefix(d.algorithm, "sha3-") {
			d.hex = hexa
			return d, true
		}
	}
	return sum{}, false
}
