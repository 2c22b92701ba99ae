package analyze

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cleanstart/cleanstart/compile"
	"github.com/cleanstart/cleanstart/compile/image"
)

// NewSubject unpacks the image's file system below workDir, which must exist
// and be the caller's own, and gives the layers a directory for their
// temporary files beside it. Removing workDir releases everything.
func NewSubject(ctx context.Context, img *compile.Image, workDir string) (*Subject, error) {
	if img == nil || img.Image == nil || img.Record == nil {
		return nil, errors.New("subject: an image with its record is needed")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	s := &Subject{Image: img, Work: filepath.Join(workDir, "work")}
	if err := os.Mkdir(s.Work, 0o700); err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	s.Rootfs = filepath.Join(workDir, "rootfs")
	if err := os.Mkdir(s.Rootfs, 0o755); err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	if err := image.Unpack(img, s.Rootfs); err != nil {
		return nil, fmt.Errorf("subject: unpack the image: %w", err)
	}
	return s, nil
}
