package sourcetest

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/cleanstart/cleanstart/source"
	"github.com/cleanstart/cleanstart/source/checksum"
)

// good is a transport over one location; each wrong one differs in a point.
type good struct{ p Place }

func (g good) Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ref.String() != g.p.Ref.String() {
		return nil, io.ErrUnexpectedEOF
	}
	return io.NopCloser(bytes.NewReader(g.p.Content)), nil
}

type transportFunc func(context.Context, *url.URL) (io.ReadCloser, error)

func (f transportFunc) Open(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
	return f(ctx, ref)
}

func TestTransportSuite(t *testing.T) {
	ref := &url.URL{Scheme: "x", Opaque: "a"}
	p := Place{Ref: ref, Content: []byte("some content"), Missing: &url.URL{Scheme: "x", Opaque: "b"}}
	TestTransport(t, good{p}, p)

	for want, wrong := range map[string]transportFunc{
		"foreign location": func(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
			if ref.Scheme == "nowhere" {
				return io.NopCloser(strings.NewReader("anything")), nil
			}
			return good{p}.Open(ctx, ref)
		},
		"missing location": func(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
			if ref.Opaque == "b" {
				return io.NopCloser(strings.NewReader("")), nil
			}
			return good{p}.Open(ctx, ref)
		},
		"cancelled context": func(_ context.Context, ref *url.URL) (io.ReadCloser, error) {
			return good{p}.Open(context.Background(), ref)
		},
		"not the": func(ctx context.Context, ref *url.URL) (io.ReadCloser, error) {
			r, err := good{p}.Open(ctx, ref)
			if err != nil {
				return nil, err
			}
			return io.NopCloser(io.LimitReader(r, 5)), nil
		},
	} {
		if err := CheckTransport(wrong, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the suite says %v of a transport that is wrong by %q", err, want)
		}
	}
}

type verifierFunc func(context.Context, source.Subject) ([]source.Proof, error)

func (f verifierFunc) Verify(ctx context.Context, s source.Subject) ([]source.Proof, error) {
	return f(ctx, s)
}

func TestVerifierSuite(t *testing.T) {
	c := Case{Archive: []byte("an archive"), Policy: source.Policy{Least: source.Pinned}}
	c.Policy.Digest = c.Subject().Digest
	s := Suite{Good: c, Grade: source.Pinned}
	TestVerifier(t, checksum.Verifier{}, s)

	for want, wrong := range map[string]verifierFunc{
		"bit flipped": func(context.Context, source.Subject) ([]source.Proof, error) {
			return []source.Proof{{Grade: source.Pinned, Mechanism: "digest", Digest: c.Policy.Digest}}, nil
		},
		"other bytes behind": func(_ context.Context, s source.Subject) ([]source.Proof, error) {
			if s.Digest != s.Policy.Digest {
				return nil, &source.DigestError{}
			}
			return []source.Proof{{Grade: source.Pinned, Mechanism: "digest", Digest: s.Digest}}, nil
		},
		"no proof": func(context.Context, source.Subject) ([]source.Proof, error) { return nil, nil },
		"proof of grade": func(ctx context.Context, s source.Subject) ([]source.Proof, error) {
			p, err := checksum.Verifier{}.Verify(ctx, s)
			for i := range p {
				p[i].Grade = source.Signed
			}
			return p, err
		},
		"cancelled context": func(_ context.Context, s source.Subject) ([]source.Proof, error) {
			return checksum.Verifier{}.Verify(context.Background(), s)
		},
		"asks for nothing": func(ctx context.Context, s source.Subject) ([]source.Proof, error) {
			if s.Policy.Digest == "" {
				return []source.Proof{{Grade: source.Pinned}}, nil
			}
			return checksum.Verifier{}.Verify(ctx, s)
		},
	} {
		if err := CheckVerifier(wrong, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the suite says %v of a verifier that is wrong by %q", err, want)
		}
	}
	s.Bad = map[string]Case{"really good": c}
	if err := CheckVerifier(checksum.Verifier{}, s); err == nil || !strings.Contains(err.Error(), "really good") {
		t.Errorf("the suite says %v though a bad case was accepted", err)
	}
}
